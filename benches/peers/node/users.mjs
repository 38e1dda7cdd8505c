// Seed 002, UserCache: a hash for each profile, and a week.

import { USERS, each, user } from './data.mjs';

const WEEK = 604_800;

export class UserCache {
  constructor(redis, run) {
    Object.assign(this, { redis, run });
  }

  async set({ id, nom, prenom, avatar, matricule, ministere, sexe, updatedAt }) {
    const key = `user:profile:${id}`;
    const hash = { fullName: `${prenom} ${nom}`, avatar, matricule, ministere, sexe, updatedAt: String(updatedAt) };
    await this.run([() => this.redis.hSet(key, hash), () => this.redis.expire(key, WEEK)]);
  }

  async get(id) {
    return profile(id, await this.redis.hGetAll(`user:profile:${id}`));
  }

  /** As the seed: a transaction. */
  async batchGet(ids) {
    const transaction = this.redis.multi();
    for (const id of ids) transaction.hGetAll(`user:profile:${id}`);
    const hashes = await transaction.exec();
    return ids.map((id, nth) => profile(id, hashes[nth]));
  }

  /** The same without one. */
  async batchGetPipelined(ids) {
    const hashes = await Promise.all(ids.map(id => this.redis.hGetAll(`user:profile:${id}`)));
    return ids.map((id, nth) => profile(id, hashes[nth]));
  }
}

const profile = (id, hash) => (hash.fullName === undefined ? null : { id, ...hash });

const person = (nth, updatedAt) => ({
  id: user(nth),
  nom: 'Dupont',
  prenom: 'Jean',
  avatar: 'https://cdn.example.com/avatars/123.jpg',
  matricule: 'MAT001',
  ministere: 'MINFOP',
  sexe: 'M',
  updatedAt,
});

const START = 1736862000000;

export const fill = (redis, run) => {
  const cache = new UserCache(redis, run);
  return each(USERS, nth => cache.set(person(nth, START)));
};

export const operationsOf = (redis, run) => {
  const cache = new UserCache(redis, run);
  const hundred = Array.from({ length: 100 }, (_, nth) => user(nth));
  return {
    get: async nth => {
      if ((await cache.get(user(nth))) === null) throw new Error('a profile that is not there');
    },
    get100: async () => {
      const found = await (run.name === 'inTurn' ? cache.batchGet(hundred) : cache.batchGetPipelined(hundred));
      if (found.includes(null)) throw new Error('a profile that is not there');
    },
    put: nth => cache.set(person(nth, START + nth)),
  };
};
