// A few fans at once, from the line to a ticket. Any wrong answer fails the run; speed is not judged here.
//
//   onsale token mint --fans 20 --balance 10000000 >fans.jsonl
//   k6 run --env BASE_URL=http://127.0.0.1:8080 --env FANS_FILE=fans.jsonl loadtest/smoke.js
//
// FANS_FILE holds one {"user_id", "access_token"} a line; each fan goes through once.

import { check, fail, sleep } from 'k6';
import { SharedArray } from 'k6/data';
import { Counter } from 'k6/metrics';
import http from 'k6/http';

const API = `${__ENV.BASE_URL || 'http://127.0.0.1:8080'}/api/v1`;
const PROMOTION_WAIT_SECS = 90;
const SEAT_TRIES = 20;

const fans = new SharedArray('fans', () =>
  open(__ENV.FANS_FILE).split('\n').filter((line) => line !== '').map((line) => JSON.parse(line)),
);
const ticketed = new Counter('fans_with_a_ticket');
const lostSeats = new Counter('seats_lost_to_another_fan');

export const options = {
  scenarios: {
    fans: { executor: 'per-vu-iterations', vus: fans.length, iterations: 1, maxDuration: '150s' },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    fans_with_a_ticket: [`count==${fans.length}`],
  },
};

// The one call of this file: an answer with any other status than the expected ones ends the fan's visit.
function call(name, method, path, expected, headers, body) {
  const answer = http.request(method, API + path, body ? JSON.stringify(body) : null, {
    headers: body ? Object.assign({ 'Content-Type': 'application/json' }, headers) : headers,
    tags: { name },
    responseCallback: http.expectedStatuses(...expected),
  });
  const right = check(answer, { [`${name} answers ${expected.join(' or ')}`]: (a) => expected.includes(a.status) });
  if (!right) fail(`${name} answered ${answer.status}: ${answer.body}`);
  return answer;
}

function joinLine(concert, signedIn) {
  const joined = call('join', 'POST', `/concerts/${concert}/queue/tokens`, [200, 201], signedIn).json();
  const behindTheLine = Object.assign({ 'Queue-Token': joined.token }, signedIn);
  let place = joined;
  let waitedSecs = 0;
  while (place.state === 'waiting') {
    if (waitedSecs > PROMOTION_WAIT_SECS) fail(`still waiting after ${waitedSecs} s`);
    check(place, { 'the first in line reads 1': (p) => p.position >= 1 && p.ahead === p.position - 1 });
    const pauseSecs = Math.max(0.2, place.poll_after_ms / 1000);
    sleep(pauseSecs);
    waitedSecs += pauseSecs;
    place = call('poll', 'GET', `/concerts/${concert}/queue/tokens/me`, [200], behindTheLine).json();
  }
  check(place, { 'the fan is active': (p) => p.state === 'active' });
  return behindTheLine;
}

// Takes one free seat; a seat that another fan took first is a 409 and no error.
function reserve(show, headers) {
  for (let tries = 0; tries < SEAT_TRIES; tries += 1) {
    const map = call('seats', 'GET', `/shows/${show}/seats`, [200], headers).json();
    const free = map.items.filter((seat) => seat.state === 'available');
    if (free.length === 0) fail('the show is sold out');
    const seat = free[Math.floor(Math.random() * free.length)];
    const answer = call('reserve', 'POST', `/shows/${show}/reservations`, [201, 409], headers, {
      seats: [{ seat_id: seat.id, version: seat.version }],
    });
    if (answer.status === 201) return answer.json();
    lostSeats.add(1);
  }
  return fail(`no seat in ${SEAT_TRIES} tries`);
}

// All fans go to one concert: of those on sale, the one with the most shows, so that it is not an arena whose seat map
// has megabytes.
export function setup() {
  const [concert] = call('concerts', 'GET', '/concerts?limit=100', [200], {})
    .json('items')
    .filter((item) => item.sale_state === 'on_sale')
    .map(({ id }) => ({ id, shows: call('shows', 'GET', `/concerts/${id}/shows`, [200], {}).json('items') }))
    .sort((one, other) => other.shows.length - one.shows.length);
  if (!concert || concert.shows.length === 0) fail('no concert with a show is on sale');
  return { concert: concert.id, shows: concert.shows.map((show) => show.id) };
}

export default function visit({ concert, shows }) {
  const signedIn = { Authorization: `Bearer ${fans[__VU - 1].access_token}` };
  const show = shows[__VU % shows.length];

  const headers = joinLine(concert, signedIn);
  const reservation = reserve(show, headers);
  const payment = call('pay', 'POST', `/reservations/${reservation.id}/payment`, [201], headers).json();
  const tickets = call('tickets', 'GET', '/me/tickets', [200], signedIn).json('items');
  const kept = check(tickets, {
    'the paid ticket is listed': (all) => all.some((ticket) => ticket.id === payment.tickets[0].id),
  });
  if (kept) ticketed.add(1);
}
