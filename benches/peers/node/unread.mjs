// Seed 001, UnreadMessageManager: a counter for each recipient and conversation, and its mirror.

import { CONVERSATIONS, EACH, OTHERS, conversation, each, user } from './data.mjs';

export class UnreadMessageManager {
  constructor(redis, run, { defaultTTL = 3 * 24 * 3600 } = {}) {
    Object.assign(this, { redis, run, defaultTTL });
  }

  /** Both ways send pairs together, as the seed does. */
  async incrementUnread(conversationId, userId) {
    const keys = this.keys(conversationId, userId);
    const [count] = await Promise.all(keys.map(key => this.redis.incr(key)));
    await Promise.all(keys.map(key => this.redis.expire(key, this.defaultTTL)));
    return count;
  }

  async markConversationRead(conversationId, userId) {
    await Promise.all(this.keys(conversationId, userId).map(key => this.redis.del(key)));
  }

  async getConversationUnreadCount(conversationId, userId) {
    return Number(await this.redis.get(this.keys(conversationId, userId)[0]));
  }

  async getUserTotalUnread(userId) {
    let total = 0;
    for await (const keys of this.redis.scanIterator({ MATCH: `unread:user:${userId}:*`, COUNT: 100 })) {
      const counts = await this.run(keys.map(key => () => this.redis.get(key)));
      for (const count of counts) total += Number(count);
    }
    return total;
  }

  keys(conversationId, userId) {
    return [`unread:user:${userId}:${conversationId}`, `unread:conv:${conversationId}:${userId}`];
  }
}

/** The conversation everybody is in; the reader's are those before it. */
const LARGE = CONVERSATIONS;

export const fill = async (redis, run) => {
  const manager = new UnreadMessageManager(redis, run);
  await each(CONVERSATIONS, nth => manager.incrementUnread(conversation(nth), user(0)));
  await each(OTHERS * EACH, nth => {
    const of = nth % EACH;
    return manager.incrementUnread(conversation(1_000 + of), user(1 + Math.floor(nth / EACH)));
  });
};

export const operationsOf = (redis, run) => {
  const manager = new UnreadMessageManager(redis, run);
  const message = recipients =>
    run(Array.from({ length: recipients }, (_, nth) => () => manager.incrementUnread(conversation(LARGE), user(1 + nth))));
  return {
    messageTo1: () => message(1),
    messageTo100: () => message(100),
    messageTo1000: () => message(1_000),
    markRead: nth => manager.markConversationRead(conversation(2_000), user(nth)),
    count: async () => {
      if ((await manager.getConversationUnreadCount(conversation(0), user(0))) !== 1) throw new Error('a wrong count');
    },
    total100: async () => {
      if ((await manager.getUserTotalUnread(user(0))) !== CONVERSATIONS) throw new Error('a wrong total');
    },
  };
};
