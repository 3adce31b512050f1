// Robots try what nobody may do, and never get a seat.

import { ask } from './ask.js';
import { isWaiting, leave } from './line.js';
import { LINE, scenario, SHOW } from './scenario.js';
import { readSeats, reserveWith, seatMap } from './seats.js';

const NO_SEAT = { seat_id: '00000000-0000-7000-8000-000000000000', version: 1 };
const FORGED = { 'Queue-Token': 'A'.repeat(120) };

// What a robot tries at the gate, and the one right answer to it.
async function tryGate(fan, request, right) {
  await ask(fan, Object.assign({ step: 'gate', right }, request));
}

export async function tryWithoutPlace(fan) {
  const forged = Object.assign({}, FORGED, fan.signedIn);
  const required = ['queue_token_required'];
  await tryGate(fan, { method: 'GET', path: `${SHOW}/seats`, headers: fan.signedIn }, required);
  await tryGate(fan, reserveWith(NO_SEAT, forged), required);
  await tryGate(fan, { method: 'GET', path: `${LINE}/me`, headers: forged }, ['token_invalid']);
}

// Tries a token that waits, just after the server said so. As long as more fans are before it than may be active at once, nobody can have called it
// in this moment.
export async function tryBeforeTurn(fan) {
  if (!isWaiting(fan) || !(fan.place.position > scenario.sale.policy.active_limit)) return;
  const waiting = ['queue_token_waiting'];
  const changed = fan.inLine['Queue-Token'].replace(/.{8}$/, 'AAAAAAAA');
  await tryGate(fan, { method: 'GET', path: `${SHOW}/seats`, headers: fan.inLine }, waiting);
  await tryGate(fan, reserveWith(NO_SEAT, fan.inLine), waiting);
  const forged = Object.assign({}, fan.signedIn, { 'Queue-Token': changed });
  await tryGate(fan, reserveWith(NO_SEAT, forged), ['queue_token_required']);
}

// With a turn, a robot reserves at a version that the seat does not have, and gives the turn up.
export async function tryStaleVersion(fan) {
  if (!(await readSeats(fan))) return;
  const seat = seatMap.first();
  const version = seat.version > 1 ? seat.version - 1 : 1000000;
  await tryGate(fan, reserveWith({ seat_id: seat.seat_id, version }, fan.inLine), ['version_conflict', 'seat_taken']);
  await leave(fan);
}
