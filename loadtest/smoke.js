// A few fans at once, from the line to a ticket. Any wrong answer fails the run; speed is not judged here.
//
//   onsale token mint --fans 30 --balance 10000000 >fans.jsonl
//   k6 run --env BASE_URL=http://127.0.0.1:8080 --env TOKENS_FILE="$PWD/fans.jsonl" loadtest/smoke.js
//
// TOKENS_FILE     one {"user_id", "access_token"} a line; each fan goes through once. A relative path starts at this
//                 file's folder.
// CONCERT_ID      optional concert on sale, with a seat for every fan, whose line lets in only a few at a time: then at
//                 least half of the fans must have waited for their turn. Without it the concert is chosen among those
//                 on sale, and its policy decides whether a line forms.
// OPERATOR_TOKEN  optional access token of an operator: the books are then checked at the end.
//
// Fans ask for their place when the server told them to, never sooner, so a single 429 fails the run. So does a turn
// that lapses: who asks in time also comes in time, if claim_secs is longer than the pauses between polls. 30 will do.
//
// Losing a seat to another fan answers 409. That is expected, counted as seats_lost_to_another_fan, and tried again.

import { check, fail, sleep } from 'k6';
import { SharedArray } from 'k6/data';
import { Counter } from 'k6/metrics';
import http from 'k6/http';

const SERVER = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const API = `${SERVER}/api/v1`;
// The longest wait in line, and the time for everything behind it. Thirty fans, two at a time, need half a minute or
// so: a turn takes as long as the pause between two polls near the head, about a second, and until the next promotion.
const PROMOTION_WAIT_SECS = 120;
const PURCHASE_SECS = 60;
const SEAT_TRIES = 20;

const fans = new SharedArray('fans', () =>
  open(__ENV.TOKENS_FILE)
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line)),
);
const ticketsHeld = new Counter('tickets_held');
const lostSeats = new Counter('seats_lost_to_another_fan');
// Fans who were told to wait, asked again, and then had their turn.
const fansWaited = new Counter('fans_waited');
const fansWaitedMin = __ENV.CONCERT_ID ? Math.ceil(fans.length / 2) : 0;

export const options = {
  scenarios: {
    fans: {
      executor: 'per-vu-iterations',
      vus: fans.length,
      iterations: 1,
      maxDuration: `${PROMOTION_WAIT_SECS + PURCHASE_SECS}s`,
    },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate<0.001'],
    'http_reqs{status:429}': ['count==0'],
    tickets_held: [`count>=${fans.length}`],
    fans_waited: [`count>=${fansWaitedMin}`],
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

// Joins and asks again until the fan's turn has come. Returns the headers for choosing and reserving seats.
function joinLine(concert, signedIn) {
  const line = `${API}/concerts/${concert}/queue/tokens`;
  const joinedAt = Date.now();
  let place = call('join', 'POST', line, [200, 201], signedIn).json();
  const headers = Object.assign({ 'Queue-Token': place.token }, signedIn);
  let position = Infinity;
  let polls = 0;
  while (place.state === 'waiting') {
    const waitedSecs = (Date.now() - joinedAt) / 1000;
    if (waitedSecs > PROMOTION_WAIT_SECS) fail(`still waiting at position ${place.position} after ${waitedSecs} s`);
    const sane = check(place, {
      'the head of the line reads 1': (p) => p.position >= 1 && p.ahead === p.position - 1,
      'a position never grows': (p) => p.position <= position,
      'the server says when to ask again': (p) => p.poll_after_ms > 0,
    });
    if (!sane) fail(`after position ${position} came ${JSON.stringify(place)}`);
    position = place.position;
    sleep(place.poll_after_ms / 1000);
    place = call('poll', 'GET', `${line}/me`, [200], headers).json();
    polls += 1;
  }
  // Anything else, like a turn that lapsed, is no way to a ticket for a fan who keeps to the rules.
  const active = check(place, {
    'the turn comes and has an end': (p) => p.state === 'active' && Date.parse(p.expires_at) > 0,
  });
  if (!active) fail(`the place is ${place.state} after ${polls} polls`);
  if (polls > 0) fansWaited.add(1);
  return headers;
}

// Takes one free seat at random. The answer to a loser holds the seat as it is now, so the list need not be read again.
function reserve(show, headers) {
  const list = call('seats', 'GET', `${API}/shows/${show}/seats`, [200], headers).json();
  const seats = new Map(list.items.map((seat) => [seat.seat_id, seat]));
  for (let tries = 0; tries < SEAT_TRIES; tries += 1) {
    const free = [...seats.values()].filter((seat) => seat.state === 'available');
    if (free.length === 0) fail('the show is sold out');
    const seat = free[Math.floor(Math.random() * free.length)];
    const answer = call('reserve', 'POST', `${API}/shows/${show}/reservations`, [201, 409], headers, {
      seats: [{ seat_id: seat.seat_id, version: seat.version }],
    });
    if (answer.status === 201) return answer;
    const lost = answer.json();
    const explained = check(lost, {
      'a loser is told why, and the seat as it is now': (l) =>
        ['seat_taken', 'version_conflict'].includes(l.code) && l.seats.length === 1 && l.seats[0].seat_id === seat.seat_id,
    });
    if (!explained) fail(`reserve answered ${answer.body}`);
    lost.seats.forEach((now) => seats.set(now.seat_id, now));
    lostSeats.add(1);
  }
  return fail(`no seat in ${SEAT_TRIES} tries`);
}

// Pays, and pays again as a client would whose connection broke before the first answer came. Whoever holds the seats
// may pay them, so the token of the line is not shown.
function pay(reservation, signedIn) {
  const keyed = Object.assign({ 'Idempotency-Key': `smoke-${reservation.id}` }, signedIn);
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

// All fans go to one concert: the one that is named, or, of those on sale, the one with the most shows, so that it is
// not an arena whose seat map has megabytes.
export function setup() {
  const ids = __ENV.CONCERT_ID
    ? [__ENV.CONCERT_ID]
    : call('concerts', 'GET', `${API}/concerts?limit=100`, [200], {})
        .json('items')
        .filter((item) => item.sale_state === 'on_sale')
        .map((item) => item.id);
  const [concert] = ids
    .map((id) => ({ id, shows: call('shows', 'GET', `${API}/concerts/${id}/shows`, [200], {}).json('items') }))
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

  const payment = pay(reservation, signedIn);
  const paid = call('reservation', 'GET', location, [200], signedIn).json();
  check(paid, { 'the reservation is paid': (r) => r.state === 'paid' });

  const tickets = call('tickets', 'GET', `${API}/me/tickets`, [200], signedIn).json('items');
  const mine = tickets.find((ticket) => ticket.id === payment.tickets[0].id);
  const kept = check(mine, {
    'the paid ticket is listed and valid': (ticket) =>
      ticket !== undefined && ticket.state === 'valid' && ticket.seat_id === reservation.seats[0].seat_id,
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
