// How a test of the suite looks: a topic, a promise, and people who are gone afterwards.

import { test } from "node:test";
import { Client, closeAll, DEADLINE, fresh } from "../client.mjs";

/** `check(promise, run)` for one topic; `run(t)` may return nothing. */
export function topic(name) {
  return (promise, run, { timeout = 6 * DEADLINE, skip = false } = {}) =>
    test(`${name}: ${promise}`, { timeout, skip }, async (t) => {
      try {
        await run(t);
      } finally {
        await closeAll();
      }
    });
}

/** People who have never met, connected. */
export const people = (...names) => Promise.all(names.map((name) => Client.connect(fresh(name))));

/** A group of the first one's making with everybody in it, known to everybody. */
export async function group(creator, ...others) {
  const { conversationId } = await creator.ask("createGroup", { name: "A group", members: others.map(({ userId }) => userId) });
  await Promise.all([creator, ...others].map((person) => person.hears("conversation:created", { conversationId })));
  return conversationId;
}

/** The direct conversation of two people, with one message in it. */
export async function direct(one, other) {
  const { conversationId, messageId } = await one.send({ receiverId: other.userId }, "hello");
  await other.hears("newMessage", { messageId });
  return conversationId;
}

/** How a person's list shows a conversation. */
export async function entry(person, conversationId) {
  const { conversations, ...totals } = await person.ask("getConversations");
  return { ...conversations.find((conversation) => conversation.conversationId === conversationId), ...totals };
}

/** An answer without what changes by itself: who is here, and since when. */
export const still = (answer) => JSON.parse(JSON.stringify(answer, (key, value) => (key === "presence" ? undefined : value)));

/** Waits until the server's clock has moved on, so that what comes now is later than what came before. */
export async function tick(person) {
  const { serverTime } = await person.ask("heartbeat");
  while (new Date((await person.ask("heartbeat")).serverTime) <= new Date(serverTime));
}

/** Messages people wrote: the server's own announcements have seqs, but no senders. */
export const written = (messages) => messages.filter(({ type }) => type !== "SYSTEM");

/** The texts of messages, in order. */
export const texts = (messages) => written(messages).map(({ content }) => content);

/** The whole history of a conversation, oldest first. */
export async function history(person, conversationId) {
  const all = [];
  let cursor;
  do {
    const page = await person.ask("messages:fullload", cursor ? { conversationId, cursor, limit: 100 } : { conversationId, afterSeq: 0, limit: 100 });
    all.push(...page.messages);
    cursor = page.hasMore ? page.nextCursor : undefined;
  } while (cursor);
  return all;
}
