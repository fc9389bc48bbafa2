// Pictures of each page in both themes and at all widths, to be looked at: scripts/browser.sh screenshots [FOLDER [NAME…]]

import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { launch, SERVERS, THEMES, WIDTHS } from './support/page.mjs';
import { PAGES } from './support/pages.mjs';

const [folder = '../../target/screenshots', ...names] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await launch();
for (const { name, server, path } of PAGES) {
  if (!SERVERS[server] || (names.length && !names.some((part) => name.includes(part)))) continue;
  for (const theme of THEMES) {
    for (const width of WIDTHS) {
      const page = await browser.newPage({ baseURL: SERVERS[server].url, colorScheme: theme, viewport: { width, height: 900 } });
      await page.goto(path);
      const picture = join(folder, `${name.replace(/\W+/g, '-')}_${width}_${theme}.png`);
      // As one sees it, and some more below.
      const height = await page.evaluate(() => document.documentElement.scrollHeight);
      await page.setViewportSize({ width, height: Math.min(Math.max(height, 900), 2400) });
      await page.screenshot({ path: picture });
      console.log(resolve(picture));
      await page.close();
    }
  }
}
await browser.close();
