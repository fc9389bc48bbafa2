// Fills schemas of its own with the recordings and with spans of our own, starts a server on each, and runs the tests against them,
// or with `screenshots FOLDER` draws the pages. Usage: scripts/browser.sh, which fetches what it needs.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { made, messages } from './support/made.mjs';
import { Store } from './support/store.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const program = resolve(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug/otel-pgvector');
const shared = process.env.OTEL_SHARED_DIR ?? join(root, '../shared');

// The recording of this name; outside users do not have it.
function recording(name) {
  const path = join(shared, 'data', name, `${name}.otlp.jsonl.gz`);
  if (existsSync(path)) return path;
  if (process.env.CI) throw new Error(`${name}'s recording is absent under CI`);
  console.error(`browser: ${name}'s recording is absent: its tests are skipped`);
  return null;
}

const [task = 'test', ...names] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'otel-pgvector-browser-'));
const [stores, servers] = [{}, {}];
let child;
const stop = () => child?.kill('SIGTERM');
process.once('SIGINT', stop).once('SIGTERM', stop);
try {
  const own = join(folder, 'made.json');
  writeFileSync(own, JSON.stringify(messages(made(Date.now()))));
  const files = { made: own, trainticket: recording('trainticket'), datasette: recording('datasette') };
  for (const [name, file] of Object.entries(files)) {
    if (!file) continue;
    stores[name] = new Store(program);
    stores[name].run('import', 'otlp', file);
    stores[name].run('maintain'); // counts the calls of the service map
    servers[name] = { url: await stores[name].serve(), ...stores[name].facts() };
  }
  const tests = readdirSync(here).filter((name) => name.endsWith('.test.mjs') && (!names.length || names.some((part) => name.includes(part))));
  const parameters = task === 'test' ? ['--test', '--test-reporter=spec', ...tests] : [`${task}.mjs`, ...names];
  child = spawn(process.execPath, parameters, { cwd: here, stdio: 'inherit', env: { ...process.env, PAGE_SERVERS: JSON.stringify(servers) } });
  process.exitCode = await new Promise((ended) => child.once('exit', (code) => ended(code ?? 1)));
} finally {
  for (const store of Object.values(stores)) await store.drop();
  rmSync(folder, { recursive: true });
}
