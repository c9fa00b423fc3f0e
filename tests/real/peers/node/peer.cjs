// One end of a test: a server of Node's http and http2, or a client that does what it reads on standard input.
//
//   peer.cjs serve   prints {"http1": PORT, "http2": PORT} and serves until standard input ends
//   peer.cjs call    reads one JSON order a line, and prints what came of it, one JSON a line
'use strict';

const readline = require('node:readline');
const client = require('./client.cjs');
const server = require('./server.cjs');
const websocket = require('./websocket.cjs');

const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

async function main(verb) {
  if (verb === 'serve') {
    tell(await server.serve());
    process.stdin.on('end', () => process.exit()).resume();
  } else if (verb === 'call') {
    for await (const line of readline.createInterface({ input: process.stdin })) {
      const order = JSON.parse(line);
      tell(await (order.websocket ? websocket.talk(order) : client.ask(order, tell)));
    }
    process.exit();
  } else {
    throw new Error('usage: peer.cjs serve | call');
  }
}

main(process.argv[2]);
