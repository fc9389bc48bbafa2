// A browser, and what holds for every page in it.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

export const WIDTHS = [360, 1280, 1920];
export const THEMES = ['light', 'dark'];

const FLAGS = [
  '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

// The servers by the traces they have: made, and where ../shared is, trainticket and datasette. Each has a `url`, and facts about
// its traces: see Store.facts.
export const SERVERS = JSON.parse(process.env.PAGE_SERVERS ?? '{}');

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    chromiumSandbox: process.getuid?.() !== 0,
    args: FLAGS,
  });
}

// A browser for the tests of a file.
export function browser() {
  const shared = {};
  before(async () => { shared.browser = await launch(); });
  after(() => shared.browser?.close());
  return shared;
}

// Opens a page for `work`, then has it that nothing went wrong in it: no error on the console, no script of a span's, no other host.
export async function visit({ browser }, server, { width = 1280, height = 900, theme = 'light', status = 200, ...options }, work) {
  const { url: origin } = SERVERS[server];
  const context = await browser.newContext({
    baseURL: origin, viewport: { width, height }, colorScheme: theme, reducedMotion: 'reduce', ...options,
  });
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const wrong = [];
  page.on('console', (message) => {
    // The browser says so of a page that has this status, too.
    const expected = status !== 200 && message.text().includes(`status of ${status} `);
    if (['error', 'warning'].includes(message.type()) && !expected) wrong.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => wrong.push(`script: ${error.message}`));
  page.on('dialog', (dialog) => { wrong.push(`dialog: ${dialog.message()}`); return dialog.dismiss(); });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.origin !== origin) wrong.push(`request elsewhere: ${request.url()}`);
  });
  page.on('response', (response) => {
    // What leads elsewhere is followed by what is there.
    if (!response.request().isNavigationRequest()) return;
    if (response.status() !== status && response.status() !== 303) wrong.push(`${response.url()} has status ${response.status()}`);
    wrong.push(...weaknesses(response));
  });
  try {
    await work(page);
    const harmed = await page.evaluate(() => window.harmed ?? document.getElementById('planted')?.outerHTML);
    assert.equal(harmed, undefined, 'what a span brought was run');
    refuse(wrong, `at ${page.url()}`);
  } finally {
    await context.close();
  }
}

// Fails with all problems, where there are any.
function refuse(problems, where) {
  if (problems.length) assert.fail(`${where}:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
}

// What a page's headers allow that they should not.
function weaknesses(response) {
  const policy = response.headers()['content-security-policy'] ?? '';
  const directives = new Map(policy.split(';').map((part) => part.trim().split(/\s+/)).map(([name, ...sources]) => [name, sources]));
  const found = [];
  if (directives.get('default-src')?.join() !== `'none'`) found.push(`the policy lets in by default: ${policy}`);
  if (/unsafe|\*|https?:/.test(policy)) found.push(`the policy is weak: ${policy}`);
  if (directives.get('frame-ancestors')?.join() !== `'none'`) found.push('other pages may frame it');
  if (response.headers()['x-content-type-options'] !== 'nosniff') found.push('browsers may guess its type');
  return found;
}

// WCAG 2 A and AA, as far as a program can tell.
export async function expectAccessible(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    rules: { region: { enabled: true } },
    resultTypes: ['violations'],
  }));
  const told = violations.map(({ id, help, nodes }) =>
    `${id}: ${help}\n` + nodes.slice(0, 3).map((node) => `    ${node.html.slice(0, 200)}\n    ${node.failureSummary}`).join('\n'));
  refuse(told, `at ${page.url()}`);
}

// Nothing sticks out of the page, no text is cut off without a sign, and no text lies on another.
export async function expectFits(page) {
  refuse(await page.evaluate(misfits), `at ${page.url()}, ${page.viewportSize().width} px`);
}

function misfits() {
  const problems = [];
  const root = document.documentElement;
  // What stays at the top lies on what is scrolled below it.
  root.style.scrollBehavior = 'auto';
  scrollTo(0, 0);
  if (root.scrollWidth > innerWidth) problems.push(`the page is ${root.scrollWidth} px wide in ${innerWidth} px`);
  const tell = (element) => `<${element.localName}${element.id && `#${element.id}`} class="${element.getAttribute('class') ?? ''}"> ${element.textContent.trim().slice(0, 60)}`;
  const clips = (style) => style.overflowX !== 'visible' || style.overflowY !== 'visible';

  // The part of a rectangle that its ancestors show.
  const shown = (rect, element) => {
    let { left, top, right, bottom } = rect;
    for (let above = element; above && above !== document.body; above = above.parentElement) {
      if (!clips(getComputedStyle(above))) continue;
      // A picture within a picture is as large as all that is in it, and shows what is over its ground.
      const ground = above.ownerSVGElement && above.querySelector(':scope > rect');
      const box = (ground ?? above).getBoundingClientRect();
      [left, top, right, bottom] = [Math.max(left, box.left), Math.max(top, box.top), Math.min(right, box.right), Math.min(bottom, box.bottom)];
    }
    return right - left > 1 && bottom - top > 1 ? { left, top, right, bottom } : null;
  };
  // Whether what sticks out can be scrolled to.
  const scrolls = (element) => {
    for (let above = element; above && above !== document.body; above = above.parentElement) {
      if (/auto|scroll/.test(getComputedStyle(above).overflowX)) return true;
    }
    return false;
  };

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node && texts.length < 4000; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
    if (element.closest('option, script, style, noscript, .skip:not(:focus)')) continue;
    const style = getComputedStyle(element);
    // For screen readers alone.
    if (style.clip !== 'auto' || style.clipPath !== 'none' && element.getBoundingClientRect().width <= 2) continue;
    const cut = element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 3;
    const signed = style.textOverflow === 'ellipsis' || style.webkitLineClamp !== 'none';
    if (cut && /hidden|clip/.test(style.overflowX + style.overflowY) && !signed && element.clientWidth > 0) problems.push(`cut off: ${tell(element)}`);
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      const visible = shown(rect, element);
      if (!visible) continue;
      if (visible.right > innerWidth + 1 && !scrolls(element)) problems.push(`beyond the edge: ${tell(element)}`);
      texts.push({ ...visible, element, layer: style.position });
    }
  }
  texts.sort((one, other) => one.top - other.top);
  for (let first = 0; first < texts.length; first++) {
    for (let second = first + 1; second < texts.length && texts[second].top < texts[first].bottom - 4; second++) {
      const [one, other] = [texts[first], texts[second]];
      const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (across > 3 && down > 4 && one.element !== other.element) problems.push(`overlap: ${tell(one.element)} and ${tell(other.element)}`);
    }
  }
  return [...new Set(problems)].slice(0, 10);
}
