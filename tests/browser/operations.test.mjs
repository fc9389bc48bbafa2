// Operations, the service map, and health.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { browser, SERVERS, visit } from './support/page.mjs';

const shared = browser();

describe('operations', () => {
  test('lead from the services to an operation, to its failed traces, and back', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/operations');
    await page.getByRole('row', { name: /payment/ }).getByRole('link', { name: 'payment', exact: true }).click();
    await page.waitForURL(/service=payment/);
    const row = page.getByRole('row', { name: /charge card/ });
    const errors = row.getByRole('cell').nth(1).getByRole('link');
    assert.match(await errors.textContent(), /^\d+$/);
    await errors.click();
    await page.waitForURL(/[?&]q=/);
    const box = await page.getByRole('searchbox').or(page.locator('#q')).first().inputValue();
    assert.match(box, /service:payment/);
    assert.match(box, /operation:"charge card"/);
    assert.match(box, /status:error/);
    await page.getByText('charge card').first().waitFor();
    await page.goBack();
    await row.waitFor();
  }));

  test('are sorted by the column that is clicked', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/operations?last=6h');
    await page.getByRole('columnheader', { name: 'p95' }).getByRole('link').click();
    await page.waitForURL(/sort=p95/);
    assert.match(page.url(), /last=6h/, 'the period stays');
    assert.equal(await page.getByRole('columnheader', { name: /p95/ }).getAttribute('aria-sort'), 'descending');
  }));

  test('are those of the service and the period that are chosen', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/operations');
    await page.getByLabel('Service').selectOption('stock');
    await page.getByLabel('Last', { exact: true }).selectOption('6h');
    await page.getByRole('button', { name: 'Show' }).click();
    await page.getByRole('rowheader', { name: /reserve stock/ }).waitFor();
    assert.match(page.url(), /service=stock/);
    assert.match(page.url(), /last=6h/);
  }));

  test('of a recording are there without choosing a period', { skip: !SERVERS.trainticket }, () => visit(shared, 'trainticket', {}, async (page) => {
    await page.goto('/operations');
    assert.ok(await page.getByRole('row').count() > 20);
  }));
});

describe('the service map', () => {
  test('shows who calls whom, and leads to their operations', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/map');
    const node = page.locator('svg a', { hasText: 'payment' }).first();
    await node.waitFor();
    await page.getByRole('row', { name: /checkout.*payment/ }).waitFor();
    await node.click();
    await page.waitForURL(/operations\?.*service=payment/);
  }));

  test('is of the service that is chosen', () => visit(shared, 'made', {}, async (page) => {
    await page.goto('/map?service=stock');
    await page.getByRole('row', { name: /checkout.*stock/ }).waitFor();
    assert.equal(await page.getByRole('row', { name: /checkout.*payment/ }).count(), 0);
  }));
});

test('health says that all is well, and what is stored', () => visit(shared, 'made', {}, async (page) => {
  await page.goto('/health');
  await page.getByRole('heading', { level: 1, name: 'All is well' }).waitFor();
  const spans = page.locator('dt', { hasText: /^Spans$/ }).locator('xpath=following-sibling::dd[1]');
  assert.ok(Number((await spans.textContent()).replace(/\D/g, '')) > 10_000);
}));
