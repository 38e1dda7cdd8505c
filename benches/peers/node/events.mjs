// Seed 002: a profile's change, for everybody who keeps a copy.

import { user } from './data.mjs';

export const fill = async () => {};

export const operationsOf = redis => ({
  publish: nth =>
    redis.xAdd('events:users', '*', {
      payload: JSON.stringify({
        event: 'user.profile.updated',
        userId: user(nth),
        fullName: 'Jean Dupont',
        avatar: 'https://cdn.example.com/avatars/123.jpg',
        matricule: 'MAT001',
        timestamp: Date.now(),
      }),
    }),
});
