// What there is, here and in ours: see `benches/peers/data.rs`.

export const USERS = 10_000;
/** In how many conversations the reader is. */
export const CONVERSATIONS = 100;
/** How many others have unread messages, in how many conversations each. */
export const [OTHERS, EACH] = [1_000, 10];
export const CACHED = 10_000;
export const HOUR = 3600;

/** An id of the seeds' form, 24 hexadecimal digits. */
const id = (kind, nth) => kind + nth.toString(16).padStart(16, '0');

const users = Array.from({ length: USERS }, (_, nth) => id('507f1f77', nth));

export const user = nth => users[nth % USERS];
export const conversation = nth => id('65a3c0de', nth);
export const room = nth => `conv_${id('0c0ffee0', nth)}`;

/** Does it for each of so many, some hundreds at once. */
export const each = async (count, act) => {
  for (let from = 0; from < count; from += 500) {
    await Promise.all(Array.from({ length: Math.min(500, count - from) }, (_, nth) => act(from + nth)));
  }
};
