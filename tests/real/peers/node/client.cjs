// Carries out one order as ../process.py writes it, and tells what came of it.
'use strict';

const http = require('node:http');
const http2 = require('node:http2');

const agent = new http.Agent({ keepAlive: true });
const sessions = new Map();

// Fields as they are told: without pseudo-fields, values joined.
function plain(fields) {
  const kept = Object.entries(fields).filter(([name]) => !name.startsWith(':'));
  return Object.fromEntries(kept.map(([name, value]) => [name, [].concat(value).join(', ')]));
}

function session(origin) {
  let found = sessions.get(origin);
  if (!found || found.closed || found.destroyed) {
    found = http2.connect(origin);
    // Each stream has its own error.
    found.on('error', () => {});
    sessions.set(origin, found);
  }
  return found;
}

// Notes what a stream of content brings, until it ends or breaks.
function listen(stream, told, order, tell) {
  stream.on('data', (piece) => {
    told.body += piece;
    if (order.stream) tell({ piece: String(piece) });
  });
}

// Sends the content now, or once it is asked for.
function send(request, order) {
  const rest = () => {
    if (Object.keys(order.trailers).length > 0 && request.addTrailers) request.addTrailers(order.trailers);
    request.end(order.body);
  };
  if (order.expect) request.on('continue', rest);
  else rest();
}

function fresh() {
  return { status: 0, fields: {}, body: '', trailers: {}, interim: [], error: '' };
}

function askHttp1(order, tell) {
  return new Promise((resolve) => {
    const told = fresh();
    const failed = (error) => resolve({ ...told, error: error.message });
    const fields = { ...order.fields };
    if (order.expect) fields.expect = '100-continue';
    if (order.body && !Object.keys(order.trailers).length) fields['content-length'] = Buffer.byteLength(order.body);
    else if (order.body || Object.keys(order.trailers).length) fields['transfer-encoding'] = 'chunked';
    const request = http.request(order.url, { method: order.method, headers: fields, agent });
    request.on('error', failed);
    request.on('information', ({ statusCode, headers }) => told.interim.push({ status: statusCode, fields: plain(headers) }));
    request.on('response', (response) => {
      Object.assign(told, { status: response.statusCode, fields: plain(response.headers) });
      listen(response, told, order, tell);
      response.on('error', failed);
      response.on('end', () => resolve({ ...told, trailers: plain(response.trailers) }));
    });
    if (order.expect) request.flushHeaders();
    send(request, order);
  });
}

function askHttp2(order, tell) {
  return new Promise((resolve) => {
    const told = fresh();
    const { origin, pathname, search } = new URL(order.url);
    const fields = { ':method': order.method, ':path': pathname + search, ...order.fields };
    if (order.expect) fields.expect = '100-continue';
    const hasTrailers = Object.keys(order.trailers).length > 0;
    const endStream = !order.body && !hasTrailers;
    const request = session(origin).request(fields, { endStream, waitForTrailers: hasTrailers });
    request.on('wantTrailers', () => request.sendTrailers(order.trailers));
    request.on('error', (error) => { told.error = error.message; });
    request.on('headers', (headers) => told.interim.push({ status: headers[':status'], fields: plain(headers) }));
    request.on('response', (headers) => Object.assign(told, { status: headers[':status'], fields: plain(headers) }));
    request.on('trailers', (trailers) => Object.assign(told.trailers, plain(trailers)));
    listen(request, told, order, tell);
    request.on('close', () => resolve(told));
    if (!endStream) send(request, order);
    // A refusal comes without 100, and what waits for it is not sent.
    if (order.expect) request.on('end', () => request.close());
  });
}

function ask(order, tell) {
  const whole = { fields: {}, trailers: {}, body: '', ...order };
  return whole.version === 1 ? askHttp1(whole, tell) : askHttp2(whole, tell);
}

module.exports = { ask, session };
