// Time for many fans of one VU.

// k6 goes through all timers of a VU for each new one. So there is one timer, which wakes everybody who is due.
const TICK_MS = 10;
const sleepers = new Map();
let asleep = 0;
let tick = 0;

function wakeTheDue() {
  for (const now = Math.floor(Date.now() / TICK_MS); tick < now; ) {
    tick += 1;
    const due = sleepers.get(tick);
    if (!due) continue;
    sleepers.delete(tick);
    asleep -= due.length;
    due.forEach((wake) => wake());
  }
  if (asleep > 0) setTimeout(wakeTheDue, TICK_MS);
}

export function pause(ms) {
  return new Promise((wake) => {
    const now = Date.now();
    if (asleep === 0) {
      tick = Math.floor(now / TICK_MS);
      setTimeout(wakeTheDue, TICK_MS);
    }
    asleep += 1;
    const due = Math.max(Math.ceil((now + ms) / TICK_MS), tick + 1);
    const others = sleepers.get(due);
    if (others) others.push(wake);
    else sleepers.set(due, [wake]);
  });
}

export const between = ([least, most]) => least + Math.random() * (most - least);
