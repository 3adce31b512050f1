// What fans do in their turn.

import exec from 'k6/execution';

import { insist, member } from './ask.js';
import { leave } from './line.js';
import { scenario } from './scenario.js';
import { PACKED, readChanges, readSeats, reserveWith, seatMap, seatsRequest } from './seats.js';
import { between, pause } from './time.js';

// Seats that a fan tries to get, one after the other, and times that a fan looks for a free one when there is none.
const SEAT_TRIES = 20;
const EMPTY_LOOKS = 3;

// Keys are new in each run, also with fans of another run.
const keyOf = (fan, what) => `load-${exec.scenario.startTime}-${fan.index}-${what}`;

// Reads, chooses, reserves and pays one seat. Whoever loses it takes another one, and gives up the turn when there is none;
// a rush for the first seat ends with losing it.
export async function buy(fan) {
  const rush = scenario.journey === 'hot_seat';
  if (!(await readSeats(fan))) return;
  if (!rush) {
    await pause(between(scenario.read_ms));
    if (!(await readChanges(fan))) return;
  }
  let looks = 0;
  for (let tries = 0; tries < (rush ? 1 : SEAT_TRIES) && looks < EMPTY_LOOKS; ) {
    const seat = rush ? seatMap.first() : seatMap.anyFree();
    await pause(between(scenario.choose_ms));
    if (!seat) {
      looks += 1;
      if (!(await readChanges(fan))) return;
      continue;
    }
    tries += 1;
    const answer = await reserve(fan, seat, tries);
    if (answer.outcome === '201') {
      await pay(fan, member(answer.body, 'id'));
      return;
    }
    if (answer.verdict !== 'right') return;
    seatMap.learn(JSON.parse(answer.body).seats);
    if (!rush && !(await readChanges(fan))) return;
  }
  await leave(fan);
}

async function reserve(fan, seat, tries) {
  const headers = Object.assign({ 'Idempotency-Key': keyOf(fan, `reserve-${tries}`) }, fan.inLine);
  const right = ['201', 'seat_taken', 'version_conflict'];
  const complaint = (body, outcome) =>
    outcome !== '201' && !body.includes(seat.seat_id) ? 'the loser does not hear how the seat is now' : undefined;
  const answer = await insist(fan, Object.assign({ step: 'reserve', right, complaint }, reserveWith(seat, headers)));
  if (answer.outcome === '201') console.log(`success reserve ${fan.index} ${member(answer.body, 'id')}`);
  return answer;
}

async function pay(fan, reservation) {
  await pause(between(scenario.pay_ms));
  fan.ending = true;
  const answer = await insist(fan, {
    step: 'pay',
    method: 'POST',
    path: `/reservations/${reservation}/payment`,
    headers: Object.assign({ 'Idempotency-Key': keyOf(fan, 'pay') }, fan.signedIn),
    right: ['201'],
    complaint: (body) => (JSON.parse(body).tickets.length === 1 ? undefined : 'not one ticket'),
  });
  if (answer.verdict !== 'right') return;
  console.log(`success pay ${fan.index} ${reservation}`);
  await insist(fan, {
    step: 'ticket',
    method: 'GET',
    path: `/tickets/${JSON.parse(answer.body).tickets[0].id}`,
    headers: fan.signedIn,
    right: ['200'],
    complaint: (body) => (member(body, 'state') === 'valid' ? undefined : body),
  });
}

// Opens the seat map, and again: the second time most often nothing has changed.
export async function look(fan) {
  const first = await insist(fan, seatsRequest(fan, '', { bodyless: true, header: 'Etag' }));
  if (first.verdict !== 'right') return;
  await pause(between(scenario.read_ms));
  const headers = Object.assign({ 'If-None-Match': first.header }, PACKED, fan.inLine);
  await insist(fan, seatsRequest(fan, '', { step: 'seats_304', headers, right: ['304', '200'], bodyless: true }));
}
