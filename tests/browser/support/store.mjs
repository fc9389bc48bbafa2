// A schema of its own for each set of traces, and a server on it.

import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';

export class Store {
  constructor(program) {
    this.program = program;
    this.schema = `browser_${randomBytes(4).toString('hex')}`;
    this.run('migrate');
  }

  get environment() {
    return { ...process.env, OTEL_STORAGE_SCHEMA: this.schema };
  }

  // What the command prints; an error where it fails.
  run(...parameters) {
    const done = spawnSync(this.program, parameters, { env: this.environment, encoding: 'utf8', maxBuffer: 2 ** 28 });
    if (done.status !== 0) throw new Error(`otel-pgvector ${parameters[0]}: ${done.error ?? done.stderr}`);
    return done.stdout;
  }

  // When its spans begin and end, and the ids of some traces.
  facts() {
    const sql = `SELECT min(start_time) AS since, max(start_time) + interval '1 second' AS until,
        (array_agg(trace_id ORDER BY span_count DESC, trace_id))[1] AS largest,
        (array_agg(trace_id ORDER BY error_count > 0 DESC, span_count DESC, trace_id))[1] AS failed
      FROM traces`;
    return JSON.parse(this.run('sql', '--json', '-c', sql));
  }

  // Starts a server on a port that is free, and waits until it says which.
  async serve() {
    this.server = spawn(this.program, ['serve', '--listen', '127.0.0.1:0'], {
      env: this.environment, stdio: ['ignore', 'ignore', 'pipe'],
    });
    const lines = createInterface({ input: this.server.stderr });
    const ended = new Promise((_, fail) => this.server.once('exit', (code) => fail(new Error(`the server ended with ${code}`))));
    ended.catch(() => {}); // it ends at the end
    const first = new Promise((found) => lines.once('line', found));
    const line = await Promise.race([first, ended]);
    lines.on('line', (text) => process.stderr.write(`${text}\n`));
    this.url = line.match(/https?:\/\/\S+/)[0].replace(/\/$/, '');
    return this.url;
  }

  // Ends the server and drops the schema.
  async drop() {
    if (this.server && this.server.exitCode === null) {
      const ended = new Promise((done) => this.server.once('exit', done));
      this.server.kill('SIGTERM');
      await ended;
    }
    this.run('sql', '-c', `DROP SCHEMA "${this.schema}" CASCADE`);
  }
}
