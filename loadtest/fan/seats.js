// Seats: what fans know of them, and how they ask for them.

import { insist } from './ask.js';
import { SHOW } from './scenario.js';

// What browsers send.
export const PACKED = { 'Accept-Encoding': 'gzip, deflate, br, zstd' };

// The seats as all fans of a VU know them. Each of them reads the whole list, as a browser does, but it is unpacked and
// parsed once a VU: 10,000 seats would take k6 longer than the server needs for the rest of the visit.
class SeatMap {
  constructor() {
    this.seats = new Map();
    this.free = [];
    this.asOf = 0;
    // The first reading, while it goes on and after it.
    this.reading = undefined;
  }

  learn(items) {
    for (const item of items) {
      let seat = this.seats.get(item.seat_id);
      if (!seat) {
        seat = { id: item.seat_id, version: 0, at: -1 };
        this.seats.set(seat.id, seat);
      }
      // Answers overtake each other.
      if (item.version < seat.version) continue;
      seat.version = item.version;
      this.setFree(seat, item.state === 'available');
    }
  }

  setFree(seat, isFree) {
    if (isFree === seat.at >= 0) return;
    if (isFree) {
      seat.at = this.free.push(seat) - 1;
      return;
    }
    const last = this.free.pop();
    if (last !== seat) {
      this.free[seat.at] = last;
      last.at = seat.at;
    }
    seat.at = -1;
  }

  // A free seat by chance, at the version of now.
  anyFree() {
    const seat = this.free[Math.floor(Math.random() * this.free.length)];
    return seat && { seat_id: seat.id, version: seat.version };
  }

  // The first seat of the list, whoever has it.
  first() {
    const seat = this.seats.values().next().value;
    return { seat_id: seat.id, version: seat.version };
  }
}

export const seatMap = new SeatMap();

export function seatsRequest(fan, path, more) {
  const headers = Object.assign({}, PACKED, fan.inLine);
  return Object.assign({ step: 'seats', method: 'GET', path: `${SHOW}/seats${path}`, headers, right: ['200'] }, more);
}

async function learnSeats(fan, path) {
  const answer = await insist(fan, seatsRequest(fan, path, { header: 'Seats-Version' }));
  if (answer.verdict !== 'right') return false;
  const { items } = JSON.parse(answer.body);
  seatMap.learn(items);
  seatMap.asOf = Math.max(seatMap.asOf, Number(answer.header));
  return true;
}

// Reads the whole list. Returns whether the seats are known.
export async function readSeats(fan) {
  if (!seatMap.reading) {
    seatMap.reading = learnSeats(fan, '');
    const known = await seatMap.reading;
    // The next fan tries.
    if (!known) seatMap.reading = undefined;
    return known;
  }
  const answer = await insist(fan, seatsRequest(fan, '', { bodyless: true }));
  return answer.verdict === 'right' && seatMap.reading;
}

export const readChanges = (fan) => learnSeats(fan, `?since=${seatMap.asOf}`);

export function reserveWith(seat, headers) {
  const body = JSON.stringify({ seats: [seat] });
  const all = Object.assign({ 'Content-Type': 'application/json' }, headers);
  return { method: 'POST', path: `${SHOW}/reservations`, headers: all, body };
}
