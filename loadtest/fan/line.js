// A place in line: joining, waiting, leaving, coming back, changing the device.

import { ask, insist, member } from './ask.js';
import { bases, kindOf, LINE, scenario, tokens } from './scenario.js';
import { between, pause } from './time.js';

const RUDE_PAUSE_MS = 200;
// Who changes the mind or the device does so after a moment, and the old device asks once no snapshot can be that old.
const MOMENT_MS = [1000, 3000];
const OLD_DEVICE_MS = 3000;

export class Fan {
  constructor(index) {
    this.index = index;
    this.kind = kindOf(index);
    this.base = bases[index % bases.length];
    this.signedIn = { Authorization: `Bearer ${tokens[index]}` };
    this.inLine = this.signedIn;
    this.number = 0;
    this.position = Infinity;
    this.until = Date.now() + scenario.patience_secs * 1000;
    // What the last answer said of the place.
    this.place = undefined;
    // Whether the place may be over: something was sent that ends it.
    this.ending = false;
  }
}

// What polite fans go by.
function placeIn(body) {
  return {
    state: member(body, 'state'),
    position: member(body, 'position'),
    pollAfterMs: member(body, 'poll_after_ms'),
    hopeless: body.includes('"sold_out":true') || body.includes('"sale_state":"closed"'),
  };
}

// Joins. Returns whether the fan has a place, which is `fan.place` then.
export async function join(fan, { right = ['201', 'sold_out'], unheard = ['200'], headers = fan.signedIn, complaint } = {}) {
  const answer = await insist(fan, { step: 'join', method: 'POST', path: LINE, headers, right, unheard, complaint });
  if (answer.verdict !== 'right' || answer.outcome === 'sold_out') return false;
  fan.inLine = Object.assign({ 'Queue-Token': member(answer.body, 'token') }, fan.signedIn);
  fan.position = Infinity;
  const number = member(answer.body, 'number');
  if (number !== fan.number) console.log(`success join ${fan.index} ${number}`);
  fan.number = number;
  fan.place = placeIn(answer.body);
  return true;
}

export const isWaiting = (fan) => fan.place.state === 'waiting';

// Takes in how the place is now.
function hearPlace(fan, body, outcome) {
  if (outcome !== '200') return undefined;
  const place = placeIn(body);
  fan.place = place;
  if (place.state !== 'waiting') return undefined;
  if (!(place.pollAfterMs > 0)) return 'does not say when to ask again';
  if (!(place.position >= 1 && place.position <= fan.position)) return `position ${place.position} after ${fan.position}`;
  fan.position = place.position;
  return undefined;
}

// Asks again until the fan has a turn. Returns whether it came, or else the fan has gone away.
export async function waitForTurn(fan, afterPoll) {
  const rude = fan.kind === 'rude';
  const poll = {
    step: 'poll',
    method: 'GET',
    path: `${LINE}/me`,
    headers: fan.inLine,
    right: rude ? ['200', 'too_many_requests'] : ['200'],
    complaint: (body, outcome) => hearPlace(fan, body, outcome),
  };
  while (fan.place.state !== 'active') {
    const waitMs = rude ? RUDE_PAUSE_MS : fan.place.pollAfterMs;
    if (fan.place.hopeless || Date.now() + waitMs > fan.until) return false;
    await pause(waitMs);
    // Not the whole answer, which would be kept until the next one.
    const { verdict, outcome, retryMs } = await ask(fan, poll);
    if (verdict === 'wrong') return false;
    if (verdict === 'refused' && !rude) await pause(retryMs);
    if (outcome === '200' && afterPoll) await afterPoll(fan);
    // Who comes back in time goes to the head, with the same token.
    if (fan.place.state === 'lapsed' && !(await join(fan, { right: ['200'], headers: fan.inLine }))) return false;
  }
  return true;
}

export async function leave(fan) {
  fan.ending = true;
  const answer = await insist(fan, {
    step: 'leave',
    method: 'DELETE',
    path: `${LINE}/me`,
    headers: fan.inLine,
    right: ['204'],
    unheard: ['not_in_line'],
  });
  return answer.verdict === 'right';
}

// A leaver is at the back afterwards. Returns whether the fan has a place.
export async function leaveAndComeBack(fan) {
  await pause(between(MOMENT_MS));
  if (!(await leave(fan))) return false;
  await pause(between(MOMENT_MS));
  const before = fan.number;
  const complaint = (body, outcome) =>
    outcome !== 'sold_out' && member(body, 'number') <= before ? `the new number is not beyond ${before}` : undefined;
  return join(fan, { complaint });
}

// The same fan joins from another device, at the next server, and has the same place there. Returns whether it is so, and
// what becomes of the old device meanwhile.
export async function changeDevice(fan) {
  await pause(between(MOMENT_MS));
  const old = { base: fan.base, headers: fan.inLine };
  fan.base = bases[(fan.index + 1) % bases.length];
  const complaint = (body) => {
    if (member(body, 'number') !== fan.number) return `the number was ${fan.number}`;
    return member(body, 'token') === old.headers['Queue-Token'] ? 'the token is the old one' : undefined;
  };
  const moved = await join(fan, { right: ['200'], complaint });
  return { moved, oldDevice: moved && hearOfMove(fan, old) };
}

async function hearOfMove(fan, { base, headers }) {
  await pause(OLD_DEVICE_MS);
  await insist(fan, {
    step: 'poll',
    method: 'GET',
    base,
    path: `${LINE}/me`,
    headers,
    right: ['queue_token_moved', 'not_in_line'],
    complaint: (_, outcome) => (outcome === 'not_in_line' && !fan.ending ? 'the place is not over' : undefined),
  });
}
