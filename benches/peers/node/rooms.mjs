// Seed 001, RoomManager: a set of users for each room, a set of rooms for each user, hashes of data and of roles.

import { each, room, user } from './data.mjs';
import { OnlineUserManager } from './presence.mjs';

export class RoomManager {
  constructor(redis, onlineUserManager, run, { defaultRoomTTL = 3600, idleRoomTTL = 7200 } = {}) {
    Object.assign(this, { redis, onlineUserManager, run, defaultRoomTTL, idleRoomTTL });
  }

  async joinRoom(roomId, userId, role = 'member') {
    const now = new Date().toISOString();
    const data = `room_data:${roomId}:${userId}`;
    await this.run([
      () => this.redis.sAdd(`room_users:${roomId}`, userId),
      () => this.redis.sAdd(`user_rooms:${userId}`, roomId),
      () => this.redis.hSet(data, { userId, joinedAt: now, lastActivity: now }),
      () => this.redis.expire(data, this.idleRoomTTL),
      () => this.redis.hSet(`rooms:${roomId}`, 'lastActivity', now),
      () => this.redis.expire(`rooms:${roomId}`, this.idleRoomTTL),
      () => this.redis.hSet(`room_roles:${roomId}`, userId, role),
      () => this.redis.set(`room_state:${roomId}`, 'active', { EX: this.defaultRoomTTL }),
    ]);
  }

  async leaveRoom(roomId, userId) {
    await this.run([
      () => this.redis.sRem(`room_users:${roomId}`, userId),
      () => this.redis.sRem(`user_rooms:${userId}`, roomId),
      () => this.redis.del(`room_data:${roomId}:${userId}`),
      () => this.redis.sCard(`room_users:${roomId}`),
    ]);
  }

  async getRoomOnlineUsers(roomId) {
    const users = await this.redis.sMembers(`room_users:${roomId}`);
    const online = await this.run(users.map(userId => () => this.onlineUserManager.isUserOnline(userId)));
    return users.filter((_, nth) => online[nth]);
  }

  async getUserRoleInRoom(roomId, userId) {
    return (await this.redis.hGet(`room_roles:${roomId}`, userId)) ?? 'member';
  }
}

const managerOf = (redis, run) => new RoomManager(redis, new OnlineUserManager(redis, run), run);

export const fill = (redis, run) => {
  const manager = managerOf(redis, run);
  return each(100, nth => manager.joinRoom(room(0), user(nth)));
};

export const operationsOf = (redis, run) => {
  const manager = managerOf(redis, run);
  return {
    join: nth => manager.joinRoom(room(1 + (nth % 100)), `guest-${nth}`),
    joinAndLeave: async nth => {
      await manager.joinRoom(room(0), `visitor-${nth}`);
      await manager.leaveRoom(room(0), `visitor-${nth}`);
    },
    role: async nth => {
      if ((await manager.getUserRoleInRoom(room(0), user(nth % 100))) !== 'member') throw new Error('a wrong role');
    },
    online100: async () => {
      if ((await manager.getRoomOnlineUsers(room(0))).length < 100) throw new Error('members who are not online');
    },
  };
};
