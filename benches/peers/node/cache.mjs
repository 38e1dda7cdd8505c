// Seed 001, CacheService: JSON in strings.

import { CACHED, HOUR, each } from './data.mjs';

export class CacheService {
  constructor(redis, run, { defaultTTL = HOUR, keyPrefix = 'chat', maxScanCount = 100 } = {}) {
    Object.assign(this, { redis, run, defaultTTL, keyPrefix, maxScanCount });
  }

  async get(key) {
    const value = await this.redis.get(`${this.keyPrefix}:${key}`);
    return value === null ? null : JSON.parse(value);
  }

  async set(key, value, ttl = this.defaultTTL) {
    await this.redis.setEx(`${this.keyPrefix}:${key}`, ttl, JSON.stringify(value));
  }

  getMultiple(keys) {
    return this.run(keys.map(key => async () => ({ key, value: await this.get(key) })));
  }

  async deletePattern(pattern) {
    let deleted = 0;
    const looked = { MATCH: `${this.keyPrefix}:${pattern}`, COUNT: this.maxScanCount };
    for await (const keys of this.redis.scanIterator(looked)) {
      if (keys.length > 0) deleted += await this.redis.del(keys);
    }
    return deleted;
  }
}

const key = nth => `key${String(nth % CACHED).padStart(6, '0')}`;
const value = nth => ({ name: 'Alice', dept: 'IT', nth, seen: 1736862000000 });

export const fill = (redis, run) => {
  const cache = new CacheService(redis, run);
  return each(CACHED, nth => cache.set(key(nth), value(nth)));
};

export const operationsOf = (redis, run) => {
  const cache = new CacheService(redis, run);
  const hundred = Array.from({ length: 100 }, (_, nth) => key(nth));
  return {
    get: async nth => {
      if ((await cache.get(key(nth)))?.name !== 'Alice') throw new Error('a value that is not there');
    },
    get100: async () => {
      const found = await cache.getMultiple(hundred);
      if (!found.every(({ value }) => value)) throw new Error('a value that is not there');
    },
    put: nth => cache.set(key(nth), value(nth % CACHED)),
    // Of a group that is empty after the first time: the least there is to do.
    invalidate: () => cache.deletePattern('group:*'),
  };
};
