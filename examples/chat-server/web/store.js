// What the page knows, and how it changes: one immutable value, pure reducers, a store that tells its listeners.
//
// Ids are untrusted text, so they are only ever keys of a `Map`. Every reducer is idempotent by `seq` or by
// message id: an event that arrives twice, or that a catch-up brings again, changes nothing.

/** The state before anybody has signed in. */
export const EMPTY = Object.freeze({
  me: null,
  connection: { state: "idle", detail: undefined },
  conversations: new Map(), // conversationId -> conversation, as the server sends it
  rooms: new Map(), // conversationId -> { messages by ascending seq, cursor, hasOlder }
  listed: false, // whether the list of conversations has been loaded
  totalUnread: 0,
  presence: new Map(), // userId -> { status, lastActive }
  typing: new Map(), // conversationId -> Map(userId -> when to forget it)
  names: new Map(), // userId -> name
  outbox: [], // messages on their way, oldest first
});

/** A client forgets a typist after this long without news. */
export const TYPING_MS = 8_000;

/** Holds the state; listeners run once per change. */
export function createStore(state = EMPTY) {
  const listeners = new Set();
  return {
    get: () => state,
    dispatch(action) {
      const next = reduce(state, action);
      if (next === state) return;
      const before = state;
      state = next;
      for (const listener of [...listeners]) listener(state, before);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The state after `action`; the same object when nothing changed. */
export function reduce(state, action) {
  const handler = Object.hasOwn(actions, action.type) ? actions[action.type] : null;
  return handler ? handler(state, action) : state;
}

const actions = {
  "signed-in": (state, { me }) => ({ ...state, me, names: named(state.names, [[me.userId, me.name]]) }),
  "signed-out": () => EMPTY,
  connection: (state, { state: next, detail }) => ({
    ...state,
    connection: { state: next, detail },
    typing: next === "online" ? state.typing : new Map(),
  }),
  names: (state, { users }) => ({ ...state, names: named(state.names, users) }),

  conversations(state, { conversations, totalUnread, meanwhile }) {
    let next = { ...state, listed: true };
    for (const conversation of conversations) next = withConversation(next, conversation, state.conversations.get(conversation.conversationId));
    if (totalUnread !== undefined) next = { ...next, totalUnread };
    return withMeanwhile(next, meanwhile);
  },
  conversation(state, { conversation, pinnedMessages, meanwhile }) {
    const known = state.conversations.get(conversation.conversationId);
    const next = withConversation(state, pinnedMessages ? { ...conversation, pinnedMessages } : conversation, known);
    const totalUnread = state.totalUnread + inTotal(next.conversations.get(conversation.conversationId)) - inTotal(known);
    return withMeanwhile({ ...next, totalUnread }, meanwhile);
  },
  gone: (state, { conversationId }) => withoutConversation(state, conversationId),

  /** A page of history: of `older` messages, of the newest ones (`fresh`: forget what was there), or some in between. */
  page(state, { conversationId, messages, cursor, hasOlder, fresh }) {
    const room = state.rooms.get(conversationId);
    const reset = fresh || !room;
    const merged = merge(reset ? [] : outside(room.messages, messages), messages);
    const edge = cursor === undefined && !reset ? room : { cursor: cursor ?? null, hasOlder: hasOlder ?? false };
    return withRoom(state, conversationId, { messages: merged, cursor: edge.cursor, hasOlder: edge.hasOlder });
  },
  /** What a catch-up brought: counts nothing, because the list it comes with is already counted. */
  "caught-up"(state, { messages }) {
    return messages.reduce((next, message) => {
      const room = next.rooms.get(message.conversationId);
      const merged = room ? withRoom(next, message.conversationId, { ...room, messages: merge(room.messages, [message]) }) : next;
      return without(withHead(merged, message), message.temporaryId);
    }, state);
  },

  queued: (state, { item }) => ({ ...state, outbox: [...state.outbox, item] }),
  failed: (state, { temporaryId, error }) => ({
    ...state,
    outbox: state.outbox.map((item) => (item.temporaryId === temporaryId ? { ...item, error } : item)),
  }),
  discarded: (state, { temporaryId }) => without(state, temporaryId),
  /** The acknowledgement of a send: the message itself may have come before, or come after. */
  sent(state, { item, answer }) {
    const message = {
      ...answer,
      temporaryId: item.temporaryId,
      senderId: state.me.userId,
      content: item.content,
      type: "TEXT",
      status: "SENT",
      revision: 0,
      reactions: [],
      replyTo: item.replyTo,
      thread: item.thread,
    };
    const room = state.rooms.get(answer.conversationId);
    const known = room?.messages.some((other) => other.seq === answer.seq);
    return without(known ? state : serverEvents.newMessage(state, message), item.temporaryId);
  },

  read(state, { conversationId, upToSeq, unreadCount, mentions, totalUnread }) {
    return withChanged(state, conversationId, (conversation) => {
      const readSeq = Math.max(conversation.readSeq, upToSeq);
      const all = readSeq >= conversation.headSeq;
      return { ...conversation, readSeq, unreadCount: unreadCount ?? (all ? 0 : conversation.unreadCount), mentions: mentions ?? (all ? 0 : conversation.mentions) };
    }, totalUnread);
  },
  unread: (state, { conversationId, readSeq, unreadCount, mentions, totalUnread }) =>
    withChanged(state, conversationId, (conversation) => ({ ...conversation, readSeq, unreadCount, mentions }), totalUnread),

  "forget-typists"(state, { now }) {
    let next = state;
    for (const [conversationId, typists] of state.typing) {
      for (const [userId, until] of typists) if (until <= now) next = withoutTypist(next, conversationId, userId);
    }
    return next;
  },

  presence: (state, { userId, status }) => withPresence(state, userId, { status }),
  event: (state, { name, data, now }) => (Object.hasOwn(serverEvents, name) ? serverEvents[name](state, data, now) : state),
};

/** One reducer per server event of PROTOCOL.md §5. */
const serverEvents = {
  newMessage(state, message) {
    const { conversationId, senderId, seq } = message;
    const conversation = state.conversations.get(conversationId);
    let next = without(state, message.temporaryId);
    const room = next.rooms.get(conversationId);
    if (room) next = withRoom(next, conversationId, { ...room, messages: withReply(merge(room.messages, [message]), message, +1, room.messages) });
    next = withoutTypist(next, conversationId, senderId);
    if (!conversation || seq <= conversation.headSeq) return next;
    next = withHead(next, message);
    const mine = senderId === state.me?.userId;
    if (!mine && !isCountable(message)) return next;
    return withChanged(next, conversationId, (head) => (mine
      ? { ...head, readSeq: Math.max(head.readSeq, seq), unreadCount: 0, mentions: 0 }
      : { ...head, unreadCount: head.unreadCount + 1, mentions: head.mentions + (mentionsUser(message, state.me?.userId) ? 1 : 0) }));
  },

  "message:edited": (state, { conversationId, messageId, newContent, mentions, revision, editedAt }) =>
    withMessage(state, conversationId, messageId, (message) =>
      message.revision > revision || message.deleted ? message : { ...message, content: newContent, mentions, revision, editedAt }),

  "message:deleted"(state, { conversationId, messageId, deleteType, deletedBy, deletedAt }) {
    if (deleteType === "FOR_ME") return withoutMessage(state, conversationId, messageId);
    const room = state.rooms.get(conversationId);
    const gone = room?.messages.find((message) => message.messageId === messageId);
    const next = gone && !gone.deleted
      ? withRoom(state, conversationId, { ...room, messages: withReply(room.messages, gone, -1) })
      : state;
    return withMessage(next, conversationId, messageId, (message) => ({
      ...message, content: "", attachments: undefined, reactions: [], mentions: undefined, pin: undefined,
      deleted: { by: deletedBy, at: deletedAt },
    }));
  },

  "message:reaction": (state, { conversationId, messageId, userId, emoji, on }) =>
    withMessage(state, conversationId, messageId, (message) => ({ ...message, reactions: react(message.reactions ?? [], userId, emoji, on) })),

  "message:status": (state, { conversationId, userId, status, upToSeq }) =>
    withParticipant(state, conversationId, userId, (participant) => ({
      ...participant,
      deliveredSeq: Math.max(participant.deliveredSeq, upToSeq),
      readSeq: status === "READ" ? Math.max(participant.readSeq, upToSeq) : participant.readSeq,
    })),

  userTyping(state, { conversationId, userId }, now) {
    if (userId === state.me?.userId) return state;
    const typists = new Map(state.typing.get(conversationId)).set(userId, now + TYPING_MS);
    return { ...state, typing: new Map(state.typing).set(conversationId, typists) };
  },
  userStoppedTyping: (state, { conversationId, userId }) => withoutTypist(state, conversationId, userId),

  user_online: (state, { userId, status }) => withPresence(state, userId, { status: status ?? "online" }),
  user_idle: (state, { userId }) => withPresence(state, userId, { status: "away" }),
  user_offline: (state, { userId, lastActive }) => withPresence(state, userId, { status: "offline", lastActive }),

  "conversation:updated"(state, { conversationId, changes, updatedBy, timestamp }) {
    const { pinnedMessage, ...own } = changes;
    let next = withChanged(state, conversationId, (conversation) => {
      const changed = { ...conversation, ...own };
      if (own.muted === false) delete changed.mutedUntil;
      return changed;
    });
    if (!pinnedMessage) return next;
    const { messageId, on } = pinnedMessage;
    const pin = on ? { by: updatedBy, at: timestamp } : undefined;
    next = withMessage(next, conversationId, messageId, (message) => ({ ...message, pin }));
    const message = next.rooms.get(conversationId)?.messages.find((other) => other.messageId === messageId);
    return withChanged(next, conversationId, (conversation) => {
      const others = (conversation.pinnedMessages ?? []).filter((other) => other.messageId !== messageId);
      return { ...conversation, pinnedMessages: on && message ? [...others, message] : others };
    });
  },

  "participant:added": (state, { conversationId, participantIds, timestamp }) =>
    withChanged(state, conversationId, (conversation) => {
      const known = new Set(conversation.participants.map(({ userId }) => userId));
      const fresh = participantIds.filter((userId) => !known.has(userId));
      return {
        ...conversation,
        participantCount: conversation.participantCount + fresh.length,
        participants: [...conversation.participants, ...fresh.map((userId) => ({
          userId, role: "member", joinedAt: timestamp, deliveredSeq: conversation.headSeq, readSeq: conversation.headSeq,
        }))],
      };
    }),
  "participant:removed": (state, { conversationId, participantIds }) => withoutParticipants(state, conversationId, participantIds),
  "participant:left": (state, { conversationId, userId }) => withoutParticipants(state, conversationId, [userId]),
  "role:updated"(state, { conversationId, targetUserId, role }) {
    const next = withParticipant(state, conversationId, targetUserId, (participant) => ({ ...participant, role }));
    return targetUserId === state.me?.userId ? withChanged(next, conversationId, (conversation) => ({ ...conversation, role })) : next;
  },

  unread: (state, { conversationId, unreadCount, mentions, totalUnread }) =>
    withChanged(state, conversationId, (conversation) => ({ ...conversation, unreadCount, mentions }), totalUnread),
};

/** The names of the events above: everything a client has to listen to. */
export const SERVER_EVENTS = Object.freeze([...Object.keys(serverEvents), "conversation:created"]);

// --- Questions ---

/** Whether a message counts as unread for those who have not read it. */
export const isCountable = (message) => !message.deleted && message.type !== "SYSTEM" && !message.silent;

/** Whether it belongs into the main view, and not only into a thread. */
export const isInConversation = (message) => !message.thread || message.thread.alsoInConversation;

/** What to call somebody. */
export const nameOf = (state, userId) => state.names.get(userId) || userId || "System";

/** The other person of a direct conversation. */
export const otherOf = (state, conversation) =>
  conversation.type === "PRIVATE" ? conversation.participants.find(({ userId }) => userId !== state.me?.userId) : undefined;

/** What a message of the system says. */
export function announcement(state, { content, metadata = {} }) {
  const [actor, user] = [metadata.actorId, metadata.userId].map((userId) => nameOf(state, userId));
  const about = metadata.userId ? user : `${metadata.count ?? "some"} people`;
  switch (metadata.subType) {
    case "GROUP_CREATED":
      return `${actor} created the group`;
    case "BROADCAST_CREATED":
      return `${actor} created the list`;
    case "PARTICIPANT_ADDED":
      return `${actor} added ${about}`;
    case "PARTICIPANT_REMOVED":
      return `${actor} removed ${about}`;
    case "PARTICIPANT_LEFT":
      return `${actor} left`;
    default:
      return content;
  }
}

/** What to call a conversation. */
export function titleOf(state, conversation) {
  const other = otherOf(state, conversation);
  return other ? nameOf(state, other.userId) : conversation.name || "Unnamed";
}

/** `SENT`, `DELIVERED` or `READ`: what every other member has done with a message of mine. */
export function receiptOf(state, message) {
  const conversation = state.conversations.get(message.conversationId);
  if (!conversation || conversation.participants.length < conversation.participantCount) return message.status;
  const others = conversation.participants.filter(({ userId }) => userId !== message.senderId);
  if (!others.length) return "SENT";
  if (others.every(({ readSeq }) => readSeq >= message.seq)) return "READ";
  return others.every(({ deliveredSeq }) => deliveredSeq >= message.seq) ? "DELIVERED" : "SENT";
}

/** The list as shown: pinned ones first, then the newest. */
export function listed(state, { archived = false } = {}) {
  return [...state.conversations.values()]
    .filter((conversation) => conversation.archived === archived)
    .sort((a, b) => b.pinned - a.pinned || activityOf(b).localeCompare(activityOf(a)));
}

/** When something last happened. */
export const activityOf = ({ lastMessage, createdAt }) => lastMessage?.timestamp ?? createdAt ?? "";

/** For a catch-up: the last message known of each conversation. */
export const positionsOf = (state) => [...state.conversations.values()].map(({ conversationId, headSeq }) => [conversationId, headSeq]);

// --- Steps ---

/** Events that change nothing the second time. */
const REPEATABLE = new Set(["message:status", "user_online", "user_idle", "user_offline", "conversation:updated", "role:updated"]);

/** What happened between a question and its answer, once more: the answer may be older. */
function withMeanwhile(state, meanwhile = []) {
  const repeated = meanwhile.filter(({ name }) => REPEATABLE.has(name));
  return repeated.reduce((next, { name, data }) => serverEvents[name](next, data), state);
}

function withConversation(state, conversation, known) {
  const id = conversation.conversationId;
  const merged = { pinnedMessages: known?.pinnedMessages, ...conversation };
  if (known?.headSeq > conversation.headSeq) { // a message overtook the answer
    const { headSeq, lastMessage, unreadCount, mentions } = known;
    Object.assign(merged, { headSeq, lastMessage, unreadCount, mentions });
  }
  if (known && known.participants.length > merged.participants.length && merged.participantCount === known.participantCount) {
    merged.participants = known.participants; // a list holds the first 20 only
  }
  const presence = new Map(state.presence);
  for (const { userId, presence: seen } of merged.participants) if (seen) presence.set(userId, { status: seen.status, lastActive: seen.lastActive });
  return {
    ...state,
    conversations: new Map(state.conversations).set(id, merged),
    names: named(state.names, merged.participants.map(({ userId, name }) => [userId, name])),
    presence,
  };
}

function withoutConversation(state, conversationId) {
  const conversation = state.conversations.get(conversationId);
  if (!conversation) return state;
  const [conversations, rooms, typing] = [new Map(state.conversations), new Map(state.rooms), new Map(state.typing)];
  for (const map of [conversations, rooms, typing]) map.delete(conversationId);
  return { ...state, conversations, rooms, typing, totalUnread: Math.max(0, state.totalUnread - inTotal(conversation)) };
}

/** Changes one conversation; the total follows unless the server has just told it. */
function withChanged(state, conversationId, change, totalUnread) {
  const before = state.conversations.get(conversationId);
  if (!before) return totalUnread === undefined ? state : { ...state, totalUnread };
  const after = change(before);
  const total = totalUnread ?? Math.max(0, state.totalUnread + inTotal(after) - inTotal(before));
  return { ...state, conversations: new Map(state.conversations).set(conversationId, after), totalUnread: total };
}

const inTotal = (conversation) => (conversation && !conversation.muted && !conversation.archived ? conversation.unreadCount : 0);

/** The newest message moves the head, and its sender's positions. */
function withHead(state, message) {
  const moved = withChanged(state, message.conversationId, (conversation) =>
    message.seq > conversation.headSeq || (message.seq === conversation.headSeq && !conversation.lastMessage)
      ? { ...conversation, headSeq: message.seq, lastMessage: message }
      : conversation);
  return withParticipant(moved, message.conversationId, message.senderId, (participant) => ({
    ...participant,
    deliveredSeq: Math.max(participant.deliveredSeq, message.seq),
    readSeq: Math.max(participant.readSeq, message.seq),
  }));
}

function withRoom(state, conversationId, room) {
  return { ...state, rooms: new Map(state.rooms).set(conversationId, room) };
}

function withParticipant(state, conversationId, userId, change) {
  const conversation = state.conversations.get(conversationId);
  if (!conversation?.participants.some((participant) => participant.userId === userId)) return state;
  return withChanged(state, conversationId, (same) => ({
    ...same,
    participants: same.participants.map((participant) => (participant.userId === userId ? change(participant) : participant)),
  }));
}

function withoutParticipants(state, conversationId, userIds) {
  if (userIds.includes(state.me?.userId)) return withoutConversation(state, conversationId);
  return withChanged(state, conversationId, (conversation) => {
    const participants = conversation.participants.filter(({ userId }) => !userIds.includes(userId));
    const gone = conversation.participants.length - participants.length;
    return { ...conversation, participants, participantCount: conversation.participantCount - gone };
  });
}

/** Changes one message wherever it is held. */
function withMessage(state, conversationId, messageId, change) {
  let next = state;
  const room = state.rooms.get(conversationId);
  if (room?.messages.some((message) => message.messageId === messageId)) {
    next = withRoom(next, conversationId, { ...room, messages: room.messages.map((message) => (message.messageId === messageId ? change(message) : message)) });
  }
  const conversation = next.conversations.get(conversationId);
  const pinned = conversation?.pinnedMessages?.some((message) => message.messageId === messageId);
  if (conversation?.lastMessage?.messageId !== messageId && !pinned) return next;
  return withChanged(next, conversationId, (same) => ({
    ...same,
    lastMessage: same.lastMessage?.messageId === messageId ? change(same.lastMessage) : same.lastMessage,
    pinnedMessages: same.pinnedMessages
      ?.map((message) => (message.messageId === messageId ? change(message) : message))
      .filter((message) => !message.deleted),
  }));
}

function withoutMessage(state, conversationId, messageId) {
  const room = state.rooms.get(conversationId);
  let next = state;
  if (room) next = withRoom(state, conversationId, { ...room, messages: room.messages.filter((message) => message.messageId !== messageId) });
  return withChanged(next, conversationId, (conversation) => conversation.lastMessage?.messageId === messageId
    ? { ...conversation, lastMessage: next.rooms.get(conversationId)?.messages.at(-1) ?? null }
    : conversation);
}

function withPresence(state, userId, presence) {
  return { ...state, presence: new Map(state.presence).set(userId, presence) };
}

function withoutTypist(state, conversationId, userId) {
  const typists = state.typing.get(conversationId);
  if (!typists?.has(userId)) return state;
  const left = new Map(typists);
  left.delete(userId);
  const typing = new Map(state.typing);
  if (left.size) typing.set(conversationId, left);
  else typing.delete(conversationId);
  return { ...state, typing };
}

/** Takes a message out of the outbox. */
function without(state, temporaryId) {
  const outbox = temporaryId === undefined ? state.outbox : state.outbox.filter((item) => item.temporaryId !== temporaryId);
  return outbox.length === state.outbox.length ? state : { ...state, outbox };
}

/** Adjusts the reply count of a thread's root; `before` tells whether the reply was counted already. */
function withReply(messages, reply, by, before) {
  if (!reply.thread || before?.some(({ seq }) => seq === reply.seq)) return messages;
  return messages.map((message) => (message.messageId === reply.thread.root
    ? { ...message, replies: { replies: Math.max(0, (message.replies?.replies ?? 0) + by), lastReplyAt: by > 0 ? reply.timestamp : message.replies?.lastReplyAt } }
    : message));
}

function react(reactions, userId, emoji, on) {
  const there = reactions.find((reaction) => reaction.emoji === emoji);
  const users = (there?.users ?? []).filter((user) => user !== userId);
  if (on) users.push(userId);
  const changed = there ? reactions.map((reaction) => (reaction === there ? { emoji, users } : reaction)) : [...reactions, { emoji, users }];
  return changed.filter((reaction) => reaction.users.length);
}

function mentionsUser(message, userId) {
  return Boolean(message.mentions?.everyone || message.mentions?.users?.includes(userId));
}

function named(names, users) {
  const news = users.filter(([userId, name]) => name && names.get(userId) !== name);
  return news.length ? new Map([...names, ...news]) : names;
}

/** Joins two lists by `seq`; of two versions of one message the newer one stays. */
export function merge(known, incoming) {
  const bySeq = new Map(known.map((message) => [message.seq, message]));
  for (const message of incoming) bySeq.set(message.seq, newer(bySeq.get(message.seq), message));
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq);
}

/** What a page does not speak of, and what of it is newer than the page. */
function outside(known, page) {
  const [first, last] = [page[0]?.seq ?? 0, page.at(-1)?.seq ?? 0];
  const inPage = new Set(page.map(({ seq }) => seq));
  return known.filter(({ seq }) => seq < first || seq > last || inPage.has(seq));
}

function newer(known, incoming) {
  if (!known) return incoming;
  const stale = (known.deleted && !incoming.deleted) || (known.revision ?? 0) > (incoming.revision ?? 0);
  return stale ? known : incoming;
}
