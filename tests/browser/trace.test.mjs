// A trace as waterfall, flame graph and table, with the details of a span; traces like it; what is new.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BIG_SPANS, BIG_TRACE, FAILED_TRACE, SLOW_TRACE } from './support/made.mjs';
import { browser, expectAccessible, expectFits, visit } from './support/page.mjs';

const shared = browser();
const FAILED = `/traces/${FAILED_TRACE}`;
const BIG = `/traces/${BIG_TRACE}`;

// The row of the span with this name, and all rows of the waterfall.
const row = (page, name) => page.getByRole('row').filter({ hasText: name }).first();
const rows = (page) => page.locator('#waterfall .rows [role=row]');
const detail = (page) => page.getByRole('complementary', { name: 'Span' });
// The place of the row that the keys are at.
const active = (page) => page.evaluate(() => {
  const grid = document.activeElement;
  return Number(document.getElementById(grid.getAttribute('aria-activedescendant'))?.getAttribute('aria-rowindex')) - 2;
});
// Opens a trace, and waits until its script has drawn it.
const open = async (page, path) => {
  await page.goto(path);
  await page.locator('#waterfall .rows.drawn').waitFor();
};
const wait = (page, count) => page.waitForFunction((count) => document.querySelectorAll('#waterfall .rows [role=row]').length === count, count);

describe('the waterfall', () => {
  test('shows spans below their parents, with errors and the critical path', () => visit(shared, 'made', {}, async (page) => {
    await open(page, FAILED);
    assert.equal(await rows(page).count(), 5);
    const levels = await rows(page).evaluateAll((all) => all.map((one) => one.getAttribute('aria-level')));
    assert.deepEqual(levels, ['1', '2', '3', '3', '3']);
    await row(page, 'charge card').getByText('failed:').waitFor({ state: 'attached' });
    assert.ok(await page.locator('#waterfall rect.critical').count() > 0);
    await page.getByText('Critical path', { exact: true }).click();
    await page.getByRole('columnheader', { name: 'Time on the path' }).waitFor();
  }));

  test('closes and opens what is below a span', () => visit(shared, 'made', {}, async (page) => {
    await open(page, FAILED);
    const checkout = rows(page).nth(1);
    await checkout.locator('.toggle').click();
    await wait(page, 2);
    assert.equal(await checkout.getAttribute('aria-expanded'), 'false');
    await checkout.locator('.toggle').click();
    await wait(page, 5);
  }));

  test('is walked through by keys', () => visit(shared, 'made', {}, async (page) => {
    await open(page, FAILED);
    await page.locator('#waterfall').focus();
    await page.keyboard.press('ArrowDown');
    assert.equal(await active(page), 1);
    await page.keyboard.press('ArrowLeft'); // closes it
    await wait(page, 2);
    await page.keyboard.press('ArrowRight');
    await wait(page, 5);
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await detail(page).getByRole('heading', { name: 'SELECT cart_items' }).waitFor();
    await page.keyboard.press('Escape');
    await detail(page).waitFor({ state: 'hidden' });
    assert.equal(await active(page), 2, 'the keys are where they were');
    await page.keyboard.press('End');
    assert.equal(await active(page), 4);
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'q');
  }));

  test('has what a span brought beside it: exception, events, links, attributes to copy', () => visit(shared, 'made', { permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
    await open(page, FAILED);
    await row(page, 'charge card').locator('a.open').click();
    const beside = detail(page);
    await beside.getByText('payment declined: the card expired').first().waitFor();
    const exception = beside.getByRole('region', { name: 'Exception' });
    await exception.getByText('java.lang.IllegalStateException').first().waitFor();
    const stack = exception.getByLabel('Stack trace', { exact: true });
    assert.equal((await stack.innerText()).split('\n').length, 6, 'line by line');
    await beside.getByText('retry', { exact: true }).waitFor();
    await beside.getByRole('link', { name: new RegExp(SLOW_TRACE) }).waitFor();
    await beside.getByRole('button', { name: 'Copy payment.currency' }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'EUR');
    await expectAccessible(page);
    await expectFits(page);
  }));

  test('is kept by its address, and the back button goes through what was looked at', () => visit(shared, 'made', {}, async (page) => {
    await open(page, FAILED);
    await row(page, 'charge card').locator('a.open').click();
    await detail(page).getByRole('heading', { name: 'charge card' }).waitFor();
    const address = page.url();
    assert.match(address, /span=/);
    await row(page, 'reserve stock').locator('a.open').click();
    await detail(page).getByRole('heading', { name: 'reserve stock' }).waitFor();
    await page.goBack();
    await detail(page).getByRole('heading', { name: 'charge card' }).waitFor();
    await page.goBack();
    await detail(page).waitFor({ state: 'hidden' });
    await page.goto(address);
    await detail(page).getByRole('heading', { name: 'charge card' }).waitFor();
  }));

  test('finds spans within the trace', () => visit(shared, 'made', {}, async (page) => {
    await page.goto(FAILED);
    await page.getByRole('searchbox').fill('cart_items');
    await page.keyboard.press('Enter');
    await page.waitForURL(/find=cart_items/);
    await row(page, 'SELECT cart_items').waitFor();
    assert.equal(await rows(page).filter({ hasText: 'reserve stock' }).count(), 0);
    await page.getByRole('searchbox').fill('no such thing');
    await page.keyboard.press('Enter');
    await page.getByText('No span has').waitFor();
    await page.getByRole('link', { name: 'Show all spans' }).click();
    await row(page, 'reserve stock').waitFor();
  }));

  test('works without a script', () => visit(shared, 'made', { javaScriptEnabled: false }, async (page) => {
    await page.goto(FAILED);
    await row(page, 'charge card').locator('a.open').click();
    await detail(page).getByText('java.lang.IllegalStateException').first().waitFor();
    await rows(page).nth(1).locator('a.toggle').click();
    await page.waitForURL(/closed=/);
    assert.equal(await rows(page).count(), 2);
  }));
});

describe('a trace of ten thousand spans', () => {
  test('is drawn as far as it is looked at, and scrolled to its end', () => visit(shared, 'made', {}, async (page) => {
    await open(page, BIG);
    await page.getByText(`${BIG_SPANS.toLocaleString('en')} spans`).first().waitFor();
    const drawn = await rows(page).count();
    assert.ok(drawn > 10 && drawn < 200, `${drawn} rows`);
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    await page.locator(`#waterfall [role=row][aria-rowindex="${BIG_SPANS + 1}"]`).waitFor();
    assert.ok(await rows(page).count() < 200, 'only what is near is drawn');
  }));

  test('is closed and opened at once, and walked to its end', () => visit(shared, 'made', {}, async (page) => {
    await open(page, BIG);
    await page.getByRole('button', { name: 'Close all' }).click();
    await page.waitForFunction(() => [...document.querySelectorAll('#waterfall [aria-level]')].every((row) => row.ariaLevel <= 2));
    await page.getByRole('button', { name: 'Open all' }).click();
    await page.locator('#waterfall [aria-level="4"]').first().waitFor();
    await page.locator('#waterfall').focus();
    await page.keyboard.press('End');
    assert.equal(await active(page), BIG_SPANS - 1);
    await page.keyboard.press('Enter');
    await detail(page).getByRole('heading', { level: 2 }).waitFor();
  }));

  for (const view of ['flame', 'table']) {
    test(`is for everyone and fits as ${view}`, () => visit(shared, 'made', {}, async (page) => {
      await page.goto(`${BIG}?view=${view}`);
      await expectAccessible(page);
      await expectFits(page);
    }));
  }
});

test('the flame graph is looked into, and out of by the back button', () => visit(shared, 'made', {}, async (page) => {
  await page.goto(FAILED);
  await page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: 'Flame graph' }).click();
  await page.waitForURL(/view=flame/);
  const block = page.locator('#flame').getByRole('link', { name: /checkout checkout/ });
  await block.click();
  await page.waitForURL(/zoom=/);
  await page.locator('#flame a.above').first().waitFor();
  await page.goBack();
  await page.waitForFunction(() => !document.querySelector('#flame a.above'));
}));

test('the table is sorted by the column that is clicked', () => visit(shared, 'made', {}, async (page) => {
  await page.goto(`${FAILED}?view=table`);
  await page.getByRole('columnheader', { name: 'Duration' }).getByRole('link').click();
  await page.waitForURL(/sort=duration/);
  const names = await page.locator('table.spans tbody td.operation').allInnerTexts();
  assert.match(names[0], /POST \/checkout/, 'the longest first');
  assert.equal(names.length, 5);
}));

test('traces like one are those with the same operations', () => visit(shared, 'made', {}, async (page) => {
  await page.goto(FAILED);
  await page.getByRole('link', { name: 'Traces like this' }).click();
  await page.waitForURL(/similar$/);
  const first = page.getByRole('article').first();
  await first.getByText(/5 operations in common/).waitFor();
  await first.getByRole('heading').getByRole('link').click();
  await page.waitForURL(/traces\/[0-9a-f]{32}$/);
}));

test('what is new since a time is shown with the nearest from before', () => visit(shared, 'made', {}, async (page) => {
  await page.goto('/new');
  await page.getByRole('article').first().waitFor();
  await page.getByRole('navigation', { name: 'Since' }).getByRole('link', { name: '1 hour' }).click();
  await page.waitForURL(/since=1h/);
  await page.getByRole('article').filter({ hasText: 'refund gift card' }).first().waitFor();
  await page.getByLabel('Service').selectOption('stock');
  await page.getByRole('button', { name: 'Show' }).click();
  await page.waitForURL(/service=stock/);
  assert.equal(await page.getByText('refund gift card').count(), 0);
}));
