// What holds for every page, in both themes and at three widths.

import { describe, test } from 'node:test';
import { browser, expectAccessible, expectFits, SERVERS, THEMES, visit, WIDTHS } from './support/page.mjs';
import { PAGES } from './support/pages.mjs';

const shared = browser();

for (const { name, server, path, status } of PAGES) {
  describe(name, { skip: !SERVERS[server] }, () => {
    for (const theme of THEMES) {
      test(`is for everyone, ${theme}`, () => visit(shared, server, { theme, status }, async (page) => {
        await page.goto(path);
        await expectAccessible(page);
      }));
    }
    for (const width of WIDTHS) {
      test(`fits into ${width} px`, () => visit(shared, server, { width, status }, async (page) => {
        await page.goto(path);
        await expectFits(page);
      }));
    }
  });
}
