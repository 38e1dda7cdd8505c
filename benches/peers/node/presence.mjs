// Seed 001, OnlineUserManager: a hash and two strings for each user; one device.

import { HOUR, USERS, each, user } from './data.mjs';

export class OnlineUserManager {
  /** The lives are longer than the seed's 5 minutes, so that nobody goes offline while others are measured. */
  constructor(redis, run, { defaultTTL = HOUR } = {}) {
    Object.assign(this, { redis, run, defaultTTL });
  }

  async setUserOnline(userId, { socketId, matricule }) {
    const now = new Date().toISOString();
    const data = { userId, socketId, matricule, status: 'online', connectedAt: now, lastActivity: now };
    const life = { EX: this.defaultTTL };
    const [, before] = await this.run([
      () => this.redis.hSet(`user_data:${userId}`, data),
      () => this.redis.get(`presence:${userId}`),
      () => this.redis.set(`presence:${userId}`, 'online', life),
      () => this.redis.set(`user_sockets:${socketId}`, userId, life),
    ]);
    return before !== 'online';
  }

  async setUserOffline(userId) {
    const socketId = await this.redis.hGet(`user_data:${userId}`, 'socketId');
    await this.run([
      () => this.redis.del(`user_data:${userId}`),
      () => this.redis.del(`presence:${userId}`),
      () => this.redis.del(`user_sockets:${socketId}`),
    ]);
    return socketId !== null;
  }

  async updateLastActivity(userId) {
    await this.run([
      () => this.redis.get(`presence:${userId}`),
      () => this.redis.hSet(`user_data:${userId}`, 'lastActivity', new Date().toISOString()),
      () => this.redis.set(`presence:${userId}`, 'online', { EX: this.defaultTTL }),
    ]);
  }

  async isUserOnline(userId) {
    return (await this.redis.get(`presence:${userId}`)) === 'online';
  }

  async getOnlineUsers(limit = 100) {
    const keys = [];
    for await (const found of this.redis.scanIterator({ MATCH: 'user_data:*', COUNT: 100 })) {
      keys.push(...found);
      if (keys.length >= limit) break;
    }
    return this.run(keys.slice(0, limit).map(key => () => this.redis.hGetAll(key)));
  }

  async getOnlineCount() {
    return (await this.redis.keys('presence:*')).length;
  }
}

const socket = nth => `socket-${nth}`;
const who = nth => ({ socketId: socket(nth), matricule: 'MAT001' });

export const fill = (redis, run) => {
  const manager = new OnlineUserManager(redis, run);
  return each(USERS, nth => manager.setUserOnline(user(nth), who(nth)));
};

export const operationsOf = (redis, run) => {
  const manager = new OnlineUserManager(redis, run);
  const some = count => Array.from({ length: count }, (_, nth) => nth);
  return {
    connect: nth => manager.setUserOnline(user(nth), who(nth % USERS)),
    connectAndDisconnect: async nth => {
      const visitor = `visitor-${nth}`;
      await manager.setUserOnline(visitor, { socketId: socket(visitor), matricule: 'MAT001' });
      if (!(await manager.setUserOffline(visitor))) throw new Error('a visitor who was not online');
    },
    heartbeat: nth => manager.updateLastActivity(user(nth)),
    heartbeats128: nth =>
      run(some(128).map(one => () => manager.updateLastActivity(user(nth * 128 + one)))),
    isOnline: async nth => {
      if (!(await manager.isUserOnline(user(nth)))) throw new Error('a user who is not online');
    },
    areOnline100: async () => {
      const online = await run(some(100).map(one => () => manager.isUserOnline(user(one))));
      if (!online.every(Boolean)) throw new Error('a user who is not online');
    },
    count: async () => {
      if ((await manager.getOnlineCount()) < USERS) throw new Error('users who are not online');
    },
    list100: async () => {
      if ((await manager.getOnlineUsers(100)).length !== 100) throw new Error('users who are not online');
    },
  };
};
