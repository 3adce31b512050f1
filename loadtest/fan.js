// Fans of every kind, for every scenario: they come when it is time, stand in line, and do what the scenario says.
// `loadtest/run SCENARIO` prepares a sale, starts this and judges the run. By hand, with a concert and fans of one's own:
//
//   onsale token mint --fans 10000 --balance 1000000 | jq -r .access_token >fans.txt
//   GOGC=400 k6 run -e SCENARIO="$PWD/loadtest/scenarios/spike-10k.json" -e BASE_URLS=http://127.0.0.1:8080 \
//     -e FANS="$PWD/fans.txt" -e CONCERT=... -e SHOW=... loadtest/fan.js
//
// SCENARIO   what is to happen, see README.md; an absolute path, as FANS.
// BASE_URLS  servers, with commas between; fans are spread over them by their index.
// FANS       one access token a line, in the order in which the fans come. Each comes once.
// CONCERT    whose line they stand in, and SHOW the show that they buy.
// CROWDS     VUs, 4. Each is a crowd: a share of the fans, all at the same time. More help when k6 has more cores.
//
// What is measured: `answer_ms` of each request with the tags `name` (step), `outcome` (the status of a success, else the
// code of the problem) and `verdict` (right, refused, wrong). `arrived` counts fans, `dropped_iterations` those who would
// have come more than a second late and stayed away, as k6 has it where it sends fans itself.
//
// With a VU for each fan, k6 takes 300 kB for each who waits, and more time (README.md). Here a fan is an async function, and a
// VU has thousands.

import exec from 'k6/execution';
import { Counter } from 'k6/metrics';

import { wrong } from './fan/ask.js';
import { changeDevice, Fan, isWaiting, join, leaveAndComeBack, waitForTurn } from './fan/line.js';
import { tryBeforeTurn, tryStaleVersion, tryWithoutPlace } from './fan/robot.js';
import { arrivalSecs, CROWDS, dueMs, fansInAll, scenario, thresholds } from './fan/scenario.js';
import { pause } from './fan/time.js';
import { buy, look } from './fan/turn.js';

const JOURNEYS = { wait: undefined, buy, hot_seat: buy, look };
if (!(scenario.journey in JOURNEYS)) throw new Error(`k6 does not do the journey ${scenario.journey}`);
const inTurn = JOURNEYS[scenario.journey];

// A fan who would come later than this does not come.
const LATE_MS = 1000;
// Longest turn; nobody takes nearly as long.
const TURN_SECS = 300;

export const options = {
  scenarios: {
    fans: {
      executor: 'per-vu-iterations',
      vus: CROWDS,
      iterations: 1,
      maxDuration: `${Math.ceil(arrivalSecs + scenario.patience_secs + TURN_SECS)}s`,
    },
  },
  thresholds: thresholds(),
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
  // Other tags would only be written down.
  systemTags: ['name'],
  // The connections that a VU keeps open for the next request.
  batch: 10000,
  batchPerHost: 10000,
};

const arrived = new Counter('arrived');
const dropped = new Counter('dropped_iterations');

async function visit(fan) {
  arrived.add(1);
  if (fan.kind === 'robot') await tryWithoutPlace(fan);
  let here = await join(fan);
  let oldDevice;
  if (here && isWaiting(fan) && fan.kind === 'leaver') here = await leaveAndComeBack(fan);
  if (here && isWaiting(fan) && fan.kind === 'mover') ({ moved: here, oldDevice } = await changeDevice(fan));
  const waited = here && (await waitForTurn(fan, fan.kind === 'robot' ? tryBeforeTurn : undefined));
  if (waited) await useTurn(fan);
  await oldDevice;
}

async function useTurn(fan) {
  if (fan.kind === 'no_show') return;
  // Nobody who has got this far gives up because of a refusal.
  fan.until = Date.now() + TURN_SECS * 1000;
  if (fan.kind === 'robot') await tryStaleVersion(fan);
  else if (inTurn) await inTurn(fan);
}

// The fans of one VU, each at its time.
export default async function crowd() {
  const startedMs = exec.scenario.startTime;
  const visits = [];
  for (let index = exec.vu.idInTest - 1; index < fansInAll; index += CROWDS) {
    const due = startedMs + dueMs(index);
    if (due > Date.now()) await pause(due - Date.now());
    if (Date.now() - due > LATE_MS) {
      dropped.add(1);
      continue;
    }
    const fan = new Fan(index);
    visits.push(visit(fan).catch((error) => wrong('visit', 'broken', `${fan.kind} ${index}: ${error.stack || error}`)));
  }
  await Promise.all(visits);
}
