// The search: one box, suggestions, cards, facets, the histogram.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FAILED_TRACE, HOSTILE_TRACE } from './support/made.mjs';
import { browser, expectAccessible, expectFits, SERVERS, visit } from './support/page.mjs';

const shared = browser();

const search = (text) => `/?${new URLSearchParams({ q: text })}`;
const box = (page) => page.locator('#q');
const asked = (page) => new URL(page.url()).searchParams.get('q');
const cards = (page) => page.getByRole('article');
const facets = (page) => page.getByRole('complementary', { name: 'Narrow the search' });
const facet = (page, name) => facets(page).getByRole('link', { name });

describe('the box', () => {
  test('takes words and filters together', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/');
    await box(page).fill('payment declined service:payment status:error >5ms');
    await page.keyboard.press('Enter');
    await page.waitForURL(/[?&]q=/);
    assert.ok(await cards(page).count() > 5);
    const card = cards(page).first();
    await card.getByRole('img', { name: /score/ }).waitFor();
    await card.getByRole('link', { name: /charge card/ }).waitFor();
    assert.match(await card.innerText(), /declined/);
    assert.match(await card.innerText(), /5 spans/);
    assert.match(await card.innerText(), /\d errors?/);
    await card.locator('mark', { hasText: /payment|declined/i }).first().waitFor();
    assert.equal(await box(page).inputValue(), 'payment declined service:payment status:error >5ms');
  }));

  test('suggests services, operations and attributes that there are', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/');
    const options = page.getByRole('option');
    await box(page).pressSequentially('service:pay');
    await options.filter({ hasText: 'service:payment' }).first().waitFor();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    assert.equal(await box(page).inputValue(), 'service:payment ');
    await box(page).pressSequentially('operation:ch');
    await options.filter({ hasText: 'operation:"charge card"' }).first().waitFor();
    await expectAccessible(page);
    await options.filter({ hasText: 'operation:"charge card"' }).first().click();
    await box(page).pressSequentially('payment.cur');
    await options.filter({ hasText: 'payment.currency=' }).first().click();
    await options.filter({ hasText: 'EUR' }).first().click();
    assert.equal(await box(page).inputValue(), 'service:payment operation:"charge card" payment.currency=EUR ');
    await page.keyboard.press('Escape');
    assert.equal(await page.getByRole('listbox').isVisible(), false);
    await page.keyboard.press('Enter');
    await page.waitForURL(/payment.currency/);
    assert.ok(await cards(page).count() > 5);
  }));

  test('says what it does not understand, and what to search instead', () => visit(shared, 'made', {}, async (page) => {
    await page.goto(search('payment status:broken'));
    const alert = page.getByRole('alert');
    await alert.getByText('status:broken', { exact: true }).waitFor();
    assert.ok(await alert.getByRole('link').count() > 0);
    assert.equal(await box(page).inputValue(), 'payment status:broken');
  }));

  test('says which filter hides everything, and leads to what there is', () => visit(shared, 'made', {}, async (page) => {
    await page.goto(search('charge service:paymant'));
    await page.getByText('There is no service').waitFor();
    await page.getByRole('link', { name: 'payment', exact: true }).click();
    await page.waitForURL((url) => url.searchParams.get('q') === 'charge service:payment');
    assert.ok(await cards(page).count() > 0);
  }));

  test('is reached by a key from anywhere', () => visit(shared, 'made', {}, async (page) => {
    await page.goto(search('payment'));
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'q');
    await page.keyboard.type('refund');
    assert.equal(await box(page).inputValue(), 'refund', 'what was there is replaced');
    await page.goto('/health');
    await page.keyboard.press('/');
    await page.waitForURL((url) => url.pathname === '/');
  }));
});

describe('what is found', () => {
  test('leads to the span that matched, and back to the same search', () => visit(shared, 'made', {}, async (page) => {
    await page.goto(search('the card expired status:error service:payment'));
    const names = await cards(page).locator('h3').allInnerTexts();
    await cards(page).first().getByRole('link', { name: /charge card/ }).click();
    await page.waitForURL(/traces\/.*span=/);
    await page.getByRole('complementary', { name: 'Span' }).getByRole('heading', { name: 'charge card' }).waitFor();
    await page.goBack();
    await page.waitForURL(/[?&]q=/);
    assert.deepEqual(await cards(page).locator('h3').allInnerTexts(), names);
  }));

  test('is narrowed by facets, each of which can be taken away again', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/?q=last:6h');
    await facet(page, /^payment/).first().click();
    await page.waitForURL((url) => /service:payment/.test(url.searchParams.get('q')));
    await facet(page, /^error/).click();
    await page.waitForURL((url) => /status:error/.test(url.searchParams.get('q')));
    assert.equal(asked(page), 'last:6h service:payment status:error');
    await page.getByRole('link', { name: /Remove service:payment/ }).click();
    await page.waitForURL((url) => url.searchParams.get('q') === 'last:6h status:error');
    await page.goBack();
    await page.waitForURL((url) => /service:payment/.test(url.searchParams.get('q')));
  }));

  test('is narrowed to a time by dragging over the histogram', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/?q=service:payment last:6h');
    const bars = page.locator('svg.bars');
    const { x, y, width, height } = await bars.boundingBox();
    await page.mouse.move(x + width * 0.7, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width * 0.8, y + height / 2, { steps: 4 });
    await page.mouse.move(x + width * 0.9, y + height / 2, { steps: 4 });
    await page.mouse.up();
    await page.waitForURL((url) => /since:.* until:/.test(url.searchParams.get('q')));
    const [, since, until] = asked(page).match(/since:(\S+) until:(\S+)/);
    const minutes = (Date.parse(until) - Date.parse(since)) / 60_000;
    assert.ok(minutes > 1 && minutes < 120, `${minutes} minutes`);
    assert.doesNotMatch(asked(page), /last:/);
    assert.match(asked(page), /service:payment/);
    await cards(page).first().waitFor();
    await page.goBack();
    await page.waitForURL((url) => /last:6h/.test(url.searchParams.get('q')));
  }));

  test('is narrowed to a time by the keyboard', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/?q=service:payment last:6h');
    await page.locator('svg.bars a').last().focus();
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Enter');
    await page.waitForURL((url) => /since:/.test(url.searchParams.get('q')));
  }));

  test('is a page at a time', () => visit(shared, 'made', {}, async (page) => {
    await page.goto(search('service:stock'));
    const first = await cards(page).locator('h3 a').evaluateAll((all) => all.map((one) => one.getAttribute('href')));
    await page.getByRole('link', { name: /more|next|older/i }).first().click();
    await page.waitForLoadState();
    const second = await cards(page).locator('h3 a').evaluateAll((all) => all.map((one) => one.getAttribute('href')));
    assert.ok(second.length > 0);
    assert.deepEqual(second.filter((one) => first.includes(one)), []);
  }));

  test('is a trace by its id', () => visit(shared, 'made', {}, async (page) => {
    await page.goto(search(FAILED_TRACE));
    await page.waitForURL(new RegExp(`/traces/${FAILED_TRACE}`));
  }));
});

test('a failing trace is found by the keyboard alone', () => visit(shared, 'made', {}, async (page) => {
  await page.goto('/');
  await page.keyboard.press('/');
  await page.keyboard.type('card expired status:error');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Enter');
  await page.waitForURL(/[?&]q=/);
  await page.keyboard.press('Tab');
  // Every stop shows that it has the focus, until the first result.
  for (let stops = 0; stops < 120; stops++) {
    const { result, seen } = await page.evaluate(() => {
      const at = document.activeElement;
      const marked = (element) => getComputedStyle(element).outlineStyle !== 'none';
      // A part of a picture has no outline in every browser, but a line around it.
      const lined = [...at.querySelectorAll('rect')].some((rect) => getComputedStyle(rect).stroke !== 'none');
      return { result: at.closest('article') !== null && at.href.includes('/traces/'), seen: at === document.body || marked(at) || lined };
    });
    assert.ok(seen, `no focus is seen on ${await page.evaluate(() => document.activeElement.outerHTML.slice(0, 200))}`);
    if (result) break;
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/traces\/[0-9a-f]{32}/);
}));

describe('recordings', () => {
  test('TrainTicket: a question leads to the traces that it means', { skip: !SERVERS.trainticket }, () => visit(shared, 'trainticket', {}, async (page) => {
    await page.goto(search('log in with a verification code'));
    await cards(page).first().waitFor();
    assert.match((await cards(page).allInnerTexts()).join('\n'), /ts-auth-service|ts-verification-code-service|login/);
    await expectFits(page);
  }));

  test('Datasette: an error is found by what it says', { skip: !SERVERS.datasette }, () => visit(shared, 'datasette', {}, async (page) => {
    await page.goto(search('"no such column" status:error'));
    await cards(page).first().waitFor();
    assert.match((await cards(page).allInnerTexts()).join('\n'), /no such column/);
    await cards(page).first().locator('h3 a').click();
    await page.waitForURL(/\/traces\//);
    await page.getByText('no such column').first().waitFor();
  }));
});

test('what spans and questions bring is text, whatever it is', () => visit(shared, 'made', {}, async (page) => {
  const { HOSTILE } = await import('./support/made.mjs');
  for (const text of Object.values(HOSTILE)) {
    await page.goto(search(`"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`));
    await box(page).waitFor();
  }
  await page.goto(`/traces/${HOSTILE_TRACE}`);
  // Every name stands there as it was sent.
  const shown = await page.locator('body').innerText();
  for (const text of [HOSTILE.markup, HOSTILE.script, HOSTILE.sql, HOSTILE.template]) assert.ok(shown.includes(text), text);
  for (const name of await page.getByRole('row').locator('a.open').all()) await name.click();
  await page.locator('#waterfall').waitFor();
  await page.goto(`/operations?${new URLSearchParams({ service: HOSTILE.markup })}`);
  assert.ok((await page.locator('h1').innerText()).includes(HOSTILE.markup));
  await page.goto(`/operations?${new URLSearchParams({ service: `'; DROP SCHEMA otel CASCADE; --` })}`);
  await page.locator('h1').waitFor();
}));

test('the theme that was chosen stays', () => visit(shared, 'made', { theme: 'light' }, async (page) => {
  await page.goto('/');
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole('button', { name: 'Use the dark theme' }).click();
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.goto('/health');
  assert.equal(await ground(), dark);
  await page.getByRole('button', { name: 'Use the light theme' }).click();
  assert.equal(await ground(), light);
}));
