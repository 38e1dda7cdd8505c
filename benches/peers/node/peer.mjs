// The seeds' managers as a process that takes its turns: one line in says what to do for how long, one line out says how
// much was done.
//
//   fill                          its data, once; answers with how many keys there are
//   run OPERATION WAY TASKS MS    so many tasks, each one operation after the other; answers: how many, in how many
//                                 microseconds, and how many microseconds of a processor this process spent
//   version                       of node-redis
//
// One connection, as the seeds' main client. WAY is `seed`, which awaits where the seeds await, or `pipelined`, which sends
// at once whatever does not need another answer first.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createClient } from 'redis';
import * as cache from './cache.mjs';
import * as events from './events.mjs';
import * as presence from './presence.mjs';
import * as rooms from './rooms.mjs';
import * as unread from './unread.mjs';
import * as users from './users.mjs';

const PORTS = { cache, events, presence, rooms, unread, users };

/** One after the other, each awaited. */
const inTurn = async steps => {
  const answers = [];
  for (const step of steps) answers.push(await step());
  return answers;
};

/** All at once: node-redis writes them together. */
const together = steps => Promise.all(steps.map(step => step()));

const WAYS = { seed: inTurn, pipelined: together };

const [port, database] = process.argv.slice(2).map(Number);
const redis = createClient({ socket: { host: '127.0.0.1', port }, database });
redis.on('error', error => {
  console.error(`the peer lost its server: ${error.message}`);
  process.exit(1);
});
await redis.connect();

/** OPERATION to WAY to what it does, the nth time. */
const operations = {};
for (const [name, { operationsOf }] of Object.entries(PORTS)) {
  for (const [way, run] of Object.entries(WAYS)) {
    for (const [operation, act] of Object.entries(operationsOf(redis, run))) {
      (operations[`${name}.${operation}`] ??= {})[way] = { act, nth: 0 };
    }
  }
}

const run = async (operation, way, tasks, milliseconds) => {
  const doing = operations[operation]?.[way];
  if (!doing) throw new Error(`no operation ${operation} ${way}`);
  const spent = process.cpuUsage();
  const began = performance.now();
  let done = 0;
  const task = async () => {
    do {
      await doing.act(doing.nth++);
      done++;
    } while (performance.now() - began < milliseconds);
  };
  await Promise.all(Array.from({ length: tasks }, task));
  const passed = performance.now() - began;
  const { user, system } = process.cpuUsage(spent);
  return `${done} ${Math.round(passed * 1000)} ${user + system}`;
};

const fill = async () => {
  for (const { fill } of Object.values(PORTS)) await fill(redis, together);
  return `${await redis.dbSize()}`;
};

const version = () => JSON.parse(readFileSync(new URL('./node_modules/redis/package.json', import.meta.url))).version;

const answer = line => {
  const [what, operation, way, tasks, milliseconds] = line.split(' ');
  if (what === 'fill') return fill();
  if (what === 'version') return version();
  if (what === 'run') return run(operation, way, Number(tasks), Number(milliseconds));
  throw new Error(`cannot ${line}`);
};

console.log('ready');
for await (const line of createInterface({ input: process.stdin })) console.log(await answer(line));
redis.destroy();
