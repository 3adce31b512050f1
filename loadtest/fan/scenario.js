// What is to happen: the scenario and everything else that the run was told.

import { SharedArray } from 'k6/data';

export const scenario = JSON.parse(open(__ENV.SCENARIO));
export const bases = __ENV.BASE_URLS.split(',').map((base) => `${base.replace(/\/$/, '')}/api/v1`);
export const tokens = new SharedArray('fans', () => open(__ENV.FANS).split('\n').filter((line) => line !== ''));
export const LINE = `/concerts/${__ENV.CONCERT}/queue/tokens`;
export const SHOW = `/shows/${__ENV.SHOW}`;
export const CROWDS = Number(__ENV.CROWDS || 4);

const KINDS = ['polite', 'rude', 'robot', 'leaver', 'mover', 'no_show'];
const strangers = Object.keys(scenario.clients).filter((kind) => !KINDS.includes(kind));
if (strangers.length > 0) throw new Error(`no kind of client: ${strangers}`);

const sum = (numbers) => numbers.reduce((all, number) => all + number, 0);
export const arrivalSecs = sum(scenario.arrivals.map(({ secs }) => secs));
export const fansInAll = Math.min(scenario.fans, Math.floor(sum(scenario.arrivals.map(({ secs, rate }) => secs * rate))));
if (tokens.length < fansInAll) throw new Error(`${tokens.length} tokens are too few for ${fansInAll} fans`);

// When a fan comes, in ms from the start.
export function dueMs(index) {
  let [atSecs, before] = [0, 0];
  for (const { secs, rate } of scenario.arrivals) {
    if (index < before + secs * rate) return (atSecs + (index - before) / rate) * 1000;
    atSecs += secs;
    before += secs * rate;
  }
  return atSecs * 1000;
}

// What kind a fan is. Steps of the golden ratio mix the kinds evenly at any moment, and in the same way in each run.
export function kindOf(index) {
  let at = ((index + 0.5) * 0.6180339887498949) % 1;
  for (const kind of KINDS) {
    at -= scenario.clients[kind] || 0;
    if (at < 0) return kind;
  }
  return 'polite';
}

// The limits, for k6 itself.
export function thresholds() {
  const limits = scenario.limits || {};
  const all = {
    wrong_answers: [`count<=${limits.wrong || 0}`],
    dropped_iterations: [`count<=${Math.floor((limits.dropped_share || 0) * fansInAll)}`],
    http_req_failed: [`rate<=${limits.unanswered_share || 0}`],
  };
  Object.entries(limits.p95_ms || {}).forEach(([step, ms]) => {
    // Refusals are quick, and would make a server that refuses look fast.
    all[`answer_ms{name:${step},verdict:right}`] = [`p(95)<=${ms}`];
  });
  return all;
}
