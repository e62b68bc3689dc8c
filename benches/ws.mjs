// Node's `ws` as it comes: welcome and pong, JSON parsed and built.
//
// Owns that one peer of the benchmark. It deliberately does not know rooms, limits or logs.
// Usage: node ws.mjs DIR [CERT KEY], with DIR the folder that ws was installed into, and the files for TLS.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

const { WebSocketServer } = createRequire(resolve(process.argv[2], 'from-here.js'))('ws');

const [cert, key] = process.argv.slice(3).map((path) => readFileSync(path));
const http = cert ? createSecureServer({ cert, key }) : createServer();
http.listen({ host: '127.0.0.1', port: 0, backlog: 4096 });
http.on('listening', () => console.log(`Listening on 127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (http.address()).port}`));
const server = new WebSocketServer({ server: http });
server.on('connection', (/** @type {any} */ socket) => {
  // How a connection ends is the load generator's to judge.
  socket.on('error', () => {});
  socket.on('message', (/** @type {string} */ data) => {
    const message = JSON.parse(data);
    if (message.type === 'ping') {
      socket.send(JSON.stringify({ type: 'pong', timestamp: Date.now() }));
    }
  });
  socket.send(JSON.stringify({ type: 'welcome', message: 'Connected to OpenStudio signaling server' }));
});
