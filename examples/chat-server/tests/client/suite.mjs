// Drives a running server with the real Socket.IO client: one named test per promise of PROTOCOL.md.
//
//   CHAT_URL          the server, started with --dev (default http://127.0.0.1:3000)
//   CHAT_JWT_SECRET   its HS256 secret, so that tokens of every kind can be made (else those tests are skipped)
//   CHAT_JWT_ISSUER, CHAT_JWT_AUDIENCE   default "chat"
//   CHAT_SERVER_PID   if given, the server is sent SIGTERM at the very end and its drain is watched
//   CHAT_DEADLINE_MS  how long anything may take (default 10 000)
//
// `node suite.mjs` runs everything; `node --test-name-pattern=typing suite.mjs` a part. The exit code tells.

import "./suite/sign-in.mjs";
import "./suite/messages.mjs";
import "./suite/catch-up.mjs";
import "./suite/receipts.mjs";
import "./suite/presence.mjs";
import "./suite/members.mjs";
import "./suite/reading.mjs";
import "./suite/settings.mjs";
import "./suite/http.mjs";
import "./suite/bad-input.mjs";
import "./suite/load.mjs";
import "./suite/drain.mjs";
