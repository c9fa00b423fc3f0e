// WebSocket by ws, over HTTP/1.1 and in a stream of HTTP/2.
'use strict';

const { createHash } = require('node:crypto');
const { EventEmitter, once } = require('node:events');
const { constants } = require('node:http2');
const WebSocket = require('ws');
const client = require('./client.cjs');

const digest = (data) => createHash('sha256').update(data).digest('hex');

const acceptor = new WebSocket.WebSocketServer({
  noServer: true,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => (offered.has('shop.v1') ? 'shop.v1' : false),
});

function accept(request, socket, head) {
  return new Promise((resolve) => { acceptor.handleUpgrade(request, socket, head, resolve); });
}

// ws knows the handshake of HTTP/1.1 only; its frames serve a stream of HTTP/2 as well.
class StreamSocket extends EventEmitter {
  constructor(stream, isServer, protocol) {
    super();
    Object.assign(this, { stream, protocol, isServer, isClosing: false, code: 1006, reason: '' });
    this.sender = new WebSocket.Sender(stream);
    this.receiver = new WebSocket.Receiver({ isServer });
    this.receiver.on('message', (data, isBinary) => this.emit('message', data, isBinary));
    this.receiver.on('ping', (data) => this.sender.pong(data, !isServer));
    this.receiver.on('pong', (data) => this.emit('pong', data));
    this.receiver.on('conclude', (code, reason) => this.concluded(code, reason));
    this.receiver.on('error', (error) => this.emit('error', error));
    stream.on('data', (data) => this.receiver.writableEnded || this.receiver.write(data));
    stream.on('end', () => stream.end());
    // A reset shows as an end without a close frame.
    stream.on('error', () => {});
    stream.on('close', () => this.emit('close', this.code, this.reason));
  }

  concluded(code, reason) {
    Object.assign(this, { code, reason });
    if (!this.isClosing) this.close(code, String(reason));
    if (this.isServer) this.stream.end();
  }

  send(data, { binary = false, fin = true } = {}) {
    this.sender.send(data, { binary, fin, compress: false, mask: !this.isServer });
  }

  ping(data) {
    this.sender.ping(data, !this.isServer);
  }

  close(code, reason) {
    this.isClosing = true;
    this.sender.close(code === 1005 ? undefined : code, reason, !this.isServer);
  }

  terminate() {
    this.stream.close(constants.NGHTTP2_CANCEL);
  }
}

function acceptStream(stream, fields) {
  const agreed = (fields['sec-websocket-protocol'] ?? '').includes('shop.v1');
  stream.respond({ ':status': 200, ...(agreed ? { 'sec-websocket-protocol': 'shop.v1' } : {}) });
  return new StreamSocket(stream, true, agreed ? 'shop.v1' : '');
}

function fresh() {
  return { heard: [], subprotocol: '', code: 0, reason: '', refused: 0, body: '', error: '' };
}

function note(told, data, isBinary) {
  told.heard.push([isBinary ? 'binary' : 'text', data.length, digest(data)]);
}

// Settles when the socket is closed: 1005 is a close frame without a code, 1006 an end without a close frame.
function closed(socket, told) {
  socket.on('error', (error) => { told.error = error.message; });
  return new Promise((resolve) => {
    socket.on('close', (code, reason) => resolve(Object.assign(told, { code, reason: String(reason) })));
  });
}

// The server's side: messages go back, and words say how to end.
function converse(socket) {
  const told = { ...fresh(), subprotocol: socket.protocol };
  socket.on('message', (data, isBinary) => {
    note(told, data, isBinary);
    const [word, code, ...reason] = isBinary ? [] : String(data).split(' ');
    if (word === 'close') socket.close(Number(code), reason.join(' '));
    else if (word === 'break') socket.terminate();
    else socket.send(data, { binary: isBinary });
  });
  return closed(socket, told);
}

async function open(order) {
  if (order.version === 1) {
    const socket = new WebSocket(order.url, order.subprotocols, { perMessageDeflate: order.compressed });
    return new Promise((resolve) => {
      socket.on('error', () => {});
      socket.on('open', () => resolve({ socket }));
      socket.on('unexpected-response', async (_, response) => {
        let body = '';
        for await (const piece of response) body += piece;
        resolve({ refused: response.statusCode, body });
      });
    });
  }
  const { host, pathname, search } = new URL(order.url);
  const session = client.session(`http://${host}`);
  if (!session.remoteSettings.enableConnectProtocol) await once(session, 'remoteSettings');
  const stream = session.request({
    ':method': 'CONNECT', ':protocol': 'websocket', ':path': pathname + search,
    'sec-websocket-version': '13', 'sec-websocket-protocol': order.subprotocols.join(', '),
  }, { endStream: false });
  const [head] = await once(stream, 'response');
  if (head[':status'] !== 200) {
    let body = '';
    for await (const piece of stream) body += piece;
    return { refused: head[':status'], body };
  }
  return { socket: new StreamSocket(stream, false, head['sec-websocket-protocol'] ?? '') };
}

// Sends one message, a frame for each piece.
function say(socket, { text, sizes }) {
  const pieces = sizes ? sizes.map((size) => Buffer.alloc(size, 'a')) : text;
  pieces.forEach((piece, index) => socket.send(piece, { fin: index === pieces.length - 1, binary: Boolean(sizes) }));
}

// The client's side.
async function talk(order) {
  const told = fresh();
  const { socket, ...refusal } = await open(order);
  if (!socket) return Object.assign(told, refusal);
  told.subprotocol = socket.protocol;
  const ended = closed(socket, told);
  for (const action of order.websocket) {
    if (action.do === 'say') {
      const answered = once(socket, 'message');
      say(socket, action);
      note(told, ...await answered);
    } else if (action.do === 'command') {
      socket.send(action.text[0]);
    } else if (action.do === 'ping') {
      const answered = once(socket, 'pong');
      socket.ping(action.text[0]);
      const [payload] = await answered;
      told.heard.push(['pong', payload.length, digest(payload)]);
    } else if (action.do === 'close') {
      socket.close(action.code, action.reason);
    } else if (action.do === 'break') {
      socket.terminate();
    }
  }
  return ended;
}

module.exports = { accept, acceptStream, converse, talk };
