// The application; see ../process.py for what each path does.
'use strict';

const http = require('node:http');
const http2 = require('node:http2');
const websocket = require('./websocket.cjs');

const gates = new Map();
const outcomes = new Map();

// A promise by its id, and what settles it, whichever is asked for first.
function promised(map, id) {
  if (!map.has(id)) {
    let settle;
    const promise = new Promise((resolve) => { settle = resolve; });
    map.set(id, { promise, settle });
  }
  return map.get(id);
}

async function content(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

// Breaks the response off behind what was written.
function cut(response) {
  if (response.stream) response.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  else response.socket.destroy();
}

async function echo(request, response) {
  const { length } = await content(request);
  const trailers = { ...request.trailers };
  response.write(JSON.stringify({ method: request.method, path: request.url, length, trailers }));
  response.addTrailers(trailers);
  response.end();
}

// A call of gRPC: its message comes back, or with `only` a status and nothing else.
async function unary(request, response, query) {
  response.setHeader('content-type', 'application/grpc');
  if (query.has('only')) {
    response.writeHead(200, { 'grpc-status': '5', 'grpc-message': 'nobody%20here' });
    return response.end();
  }
  const message = await content(request);
  if (query.has('cut')) return response.write(message, () => cut(response));
  response.write(message);
  response.addTrailers({ 'grpc-status': '0', 'sum-bin': 'AAE' });
  return response.end();
}

async function early(request, response, id) {
  response.writeHead(200, { 'content-length': 5 });
  // In HTTP/1.1 the response is whole with its fifth byte, and Node would read no more after its end.
  if (response.stream) response.end('early');
  else response.write('early');
  let size = 0;
  for await (const piece of request) size += piece.length;
  promised(outcomes, id).settle(size);
  if (!response.stream) response.end();
}

async function answer(request, response) {
  const url = new URL(request.url, 'http://peer');
  const id = url.searchParams.get('id');
  switch (url.pathname) {
    case '/echo': return echo(request, response);
    case '/early': return early(request, response, id);
    case '/call': return unary(request, response, url.searchParams);
    case '/hints':
      response.writeEarlyHints({ link: '</style.css>; rel=preload' });
      return response.end();
    case '/cut':
      response.writeHead(200);
      return response.write('half', () => cut(response));
    case '/refused':
      response.writeHead(413, { 'content-length': 0 });
      return response.end();
    case '/events':
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      await promised(gates, id).promise;
      return response.end('data: 2\n\n');
    case '/poll':
      promised(outcomes, id).settle('waiting');
      await promised(gates, id).promise;
      return response.end('news');
    case '/go':
      promised(gates, id).settle();
      return response.end();
    case '/outcome':
      return response.end(JSON.stringify(await promised(outcomes, id).promise));
    default:
      return status(request, response, Number(url.pathname.split('/')[2]));
  }
}

function status(request, response, code) {
  const isEmpty = request.method === 'HEAD' || code === 204 || code === 304;
  response.writeHead(code, { 'x-kept': '1', ...(code === 204 ? {} : { 'content-length': 5 }) });
  response.end(isEmpty ? undefined : 'hello');
}

// `open` gives the WebSocket once the request is not to be refused.
async function converse(request, open, refuse) {
  const query = new URL(request.url, 'http://peer').searchParams;
  if (query.has('refuse')) return refuse(Number(query.get('refuse')));
  return promised(outcomes, query.get('id')).settle(await websocket.converse(await open()));
}

function listen(server) {
  return new Promise((resolve) => { server.listen(0, '127.0.0.1', () => resolve(server.address().port)); });
}

async function serve() {
  const plain = http.createServer(answer);
  plain.on('checkContinue', (request, response) => {
    // What is refused is refused without asking for its content.
    if (!request.url.startsWith('/refused')) response.writeContinue();
    answer(request, response);
  });
  plain.on('upgrade', (request, socket, head) => converse(
    request,
    () => websocket.accept(request, socket, head),
    (code) => socket.end(`HTTP/1.1 ${code} Refused\r\ncontent-length: 9\r\nconnection: close\r\n\r\nnot here\n`),
  ));
  const second = http2.createServer({ settings: { enableConnectProtocol: true } }, answer);
  second.on('checkContinue', (request, response) => {
    if (!request.url.startsWith('/refused')) response.writeContinue();
    answer(request, response);
  });
  second.on('connect', (request, response) => converse(
    request,
    () => websocket.acceptStream(request.stream, request.headers),
    (code) => response.writeHead(code).end('not here\n'),
  ));
  return { http1: await listen(plain), http2: await listen(second) };
}

module.exports = { serve };
