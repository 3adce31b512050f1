// A few fans at once, from the line to a ticket. Any wrong answer fails the run; speed is not judged here.
//
//   onsale token mint --fans 20 --balance 10000000 >fans.jsonl
//   k6 run --env BASE_URL=http://127.0.0.1:8080 --env TOKENS_FILE="$PWD/fans.jsonl" loadtest/smoke.js
//
// TOKENS_FILE     one {"user_id", "access_token"} a line; each fan goes through once. FANS_FILE means the same.
//                 A relative path starts at this file's folder.
// OPERATOR_TOKEN  optional access token of an operator: the books are then checked at the end.
//
// Losing a seat to another fan answers 409. That is expected, counted as seats_lost_to_another_fan, and tried again.

import { check, fail, sleep } from 'k6';
import { SharedArray } from 'k6/data';
import { Counter } from 'k6/metrics';
import http from 'k6/http';

const SERVER = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const API = `${SERVER}/api/v1`;
const POLL_PAUSE_MAX_MS = 2000;
const PROMOTION_WAIT_SECS = 90;
const SEAT_TRIES = 20;

const fans = new SharedArray('fans', () =>
  open(__ENV.TOKENS_FILE || __ENV.FANS_FILE)
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line)),
);
const ticketsHeld = new Counter('tickets_held');
const lostSeats = new Counter('seats_lost_to_another_fan');

export const options = {
  scenarios: {
    fans: { executor: 'per-vu-iterations', vus: fans.length, iterations: 1, maxDuration: '150s' },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate<0.001'],
    tickets_held: [`count>=${fans.length}`],
  },
};

// Nothing but a success is expected, unless a call says otherwise.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }));

// The one call of this file: an answer with any other status than the expected ones ends the fan's visit.
function call(name, method, url, expected, headers, body) {
  const answer = http.request(method, url, body ? JSON.stringify(body) : null, {
    headers: body ? Object.assign({ 'Content-Type': 'application/json' }, headers) : headers,
    tags: { name },
    responseCallback: http.expectedStatuses(...expected),
  });
  const right = check(answer, { [`${name} answers ${expected.join(' or ')}`]: (a) => expected.includes(a.status) });
  if (!right) fail(`${name} answered ${answer.status}: ${answer.body}`);
  return answer;
}

// Joins and asks again until the fan's turn has come. Returns the headers for everything behind the line.
function joinLine(concert, signedIn) {
  const line = `${API}/concerts/${concert}/queue/tokens`;
  let place = call('join', 'POST', line, [200, 201], signedIn).json();
  const headers = Object.assign({ 'Queue-Token': place.token }, signedIn);
  let position = Infinity;
  let waitedMs = 0;
  while (place.state === 'waiting') {
    if (waitedMs > PROMOTION_WAIT_SECS * 1000) fail(`still waiting after ${waitedMs} ms`);
    check(place, {
      'the head of the line reads 1': (p) => p.position >= 1 && p.ahead === p.position - 1,
      'a position never grows': (p) => p.position <= position,
    });
    position = place.position;
    const pauseMs = Math.min(place.poll_after_ms, POLL_PAUSE_MAX_MS);
    sleep(pauseMs / 1000);
    waitedMs += pauseMs;
    place = call('poll', 'GET', `${line}/me`, [200], headers).json();
  }
  check(place, { 'the turn has an end': (p) => p.state === 'active' && Date.parse(p.expires_at) > 0 });
  return headers;
}

// Takes one free seat at random. The answer to a loser holds the seat as it is now, so the list need not be read again.
function reserve(show, headers) {
  const list = call('seats', 'GET', `${API}/shows/${show}/seats`, [200], headers).json();
  const seats = new Map(list.items.map((seat) => [seat.id, seat]));
  for (let tries = 0; tries < SEAT_TRIES; tries += 1) {
    const free = [...seats.values()].filter((seat) => seat.state === 'available');
    if (free.length === 0) fail('the show is sold out');
    const seat = free[Math.floor(Math.random() * free.length)];
    const answer = call('reserve', 'POST', `${API}/shows/${show}/reservations`, [201, 409], headers, {
      seats: [{ seat_id: seat.id, version: seat.version }],
    });
    if (answer.status === 201) return answer;
    const lost = answer.json();
    const explained = check(lost, {
      'a loser is told why, and the seat as it is now': (l) =>
        ['seat_taken', 'version_conflict'].includes(l.code) && l.seats.length === 1 && l.seats[0].id === seat.id,
    });
    if (!explained) fail(`reserve answered ${answer.body}`);
    lost.seats.forEach((now) => seats.set(now.id, now));
    lostSeats.add(1);
  }
  return fail(`no seat in ${SEAT_TRIES} tries`);
}

// Pays, and pays again as a client would whose connection broke before the first answer came.
function pay(reservation, headers) {
  const keyed = Object.assign({ 'Idempotency-Key': `smoke-${reservation.id}` }, headers);
  const url = `${API}/reservations/${reservation.id}/payment`;
  const first = call('pay', 'POST', url, [201], keyed);
  const again = call('pay again', 'POST', url, [201], keyed);
  check(again, { 'a repeated payment has the same answer': (a) => a.body === first.body });
  const payment = first.json();
  check(payment, {
    'the price is what is paid': (p) => p.amount_minor === reservation.total_minor,
    'every seat has a ticket': (p) => p.tickets.length === reservation.seats.length,
  });
  return payment;
}

// All fans go to one concert: of those on sale, the one with the most shows, so that it is not an arena whose seat map
// has megabytes.
export function setup() {
  const [concert] = call('concerts', 'GET', `${API}/concerts?limit=100`, [200], {})
    .json('items')
    .filter((item) => item.sale_state === 'on_sale')
    .map(({ id }) => ({ id, shows: call('shows', 'GET', `${API}/concerts/${id}/shows`, [200], {}).json('items') }))
    .sort((one, other) => other.shows.length - one.shows.length);
  if (!concert || concert.shows.length === 0) fail('no concert with a show is on sale');
  return { concert: concert.id, shows: concert.shows.map((show) => show.id) };
}

export default function visit({ concert, shows }) {
  const signedIn = { Authorization: `Bearer ${fans[__VU - 1].access_token}` };
  const show = shows[__VU % shows.length];

  const headers = joinLine(concert, signedIn);
  const reserved = reserve(show, headers);
  const reservation = reserved.json();
  const location = SERVER + reserved.headers.Location;
  const read = call('reservation', 'GET', location, [200], signedIn).json();
  check(read, {
    'the reservation reads as it was made': (r) =>
      r.id === reservation.id && r.state === 'held' && r.total_minor === reservation.total_minor,
  });

  const payment = pay(reservation, headers);
  const paid = call('reservation', 'GET', location, [200], signedIn).json();
  check(paid, { 'the reservation is paid': (r) => r.state === 'paid' });

  const tickets = call('tickets', 'GET', `${API}/me/tickets`, [200], signedIn).json('items');
  const mine = tickets.find((ticket) => ticket.id === payment.tickets[0].id);
  const kept = check(mine, {
    'the paid ticket is listed and valid': (ticket) =>
      ticket !== undefined && ticket.state === 'valid' && ticket.seat_id === reservation.seats[0].id,
  });
  if (!kept) fail('the paid ticket is not listed');
  const qr = call('qr', 'GET', `${API}/tickets/${mine.id}/qr`, [200], signedIn);
  const drawn = check(qr, {
    'the QR is a picture': (a) => a.headers['Content-Type'] === 'image/svg+xml' && a.body.includes('<svg'),
  });
  if (drawn) ticketsHeld.add(1);
}

export function teardown() {
  if (!__ENV.OPERATOR_TOKEN) return;
  const operator = { Authorization: `Bearer ${__ENV.OPERATOR_TOKEN}` };
  const books = call('books', 'GET', `${API}/admin/ledger/reconciliation`, [200], operator).json();
  check(books, { 'the books balance': (b) => b.balanced === true });
}
