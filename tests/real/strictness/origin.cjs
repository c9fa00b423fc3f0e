// Answers every request, and prints the port that it listens on. It ends with its standard input.
'use strict';

const http = require('node:http');

const server = http.createServer((request, response) => {
  request.resume().on('end', () => response.end('ok'));
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`));
process.stdin.on('end', () => process.exit()).resume();
