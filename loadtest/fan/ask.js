// One request and its verdict.

import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';

import { pause } from './time.js';

const STEPS = ['join', 'poll', 'leave', 'seats', 'seats_304', 'reserve', 'pay', 'ticket', 'gate'];
const ANSWER_WITHIN = '20s';
const OVERLOAD = [429, 503];
const TRY_LATER = ['idempotency_in_flight'];
const WRONGS_TOLD = 50;

// An answer is one, whatever it says; what is right is decided below.
http.setResponseCallback(http.expectedStatuses({ min: 100, max: 599 }));

const answerMs = new Trend('answer_ms', true);
const wrongAnswers = new Counter('wrong_answers');

// The value of a member of a JSON object. Parsing a whole place would cost k6 more than all else that a poll makes it do.
export function member(text, name) {
  const key = `"${name}":`;
  const found = text.indexOf(key);
  if (found < 0) return undefined;
  const at = found + key.length;
  if (text[at] === '"') return text.slice(at + 1, text.indexOf('"', at + 1));
  return parseFloat(text.slice(at, at + 20));
}

function outcomeOf(status, body) {
  if (status === 0) return 'no_answer';
  if (status < 300 || status === 304) return String(status);
  // Without its body, which large lists are asked for, a problem has only its status.
  return (body && member(body, 'code')) || String(status);
}

// Right is what the documents promise for this request. Too many or too much is neither right nor wrong if the server
// says when to come back, and nor is no answer at all.
function judge(right, answer, outcome) {
  if (outcome === 'no_answer') return 'refused';
  const later = OVERLOAD.includes(answer.status) || TRY_LATER.includes(outcome);
  if (later && !answer.headers['Retry-After']) return 'wrong';
  if (right.includes(outcome)) return 'right';
  return later ? 'refused' : 'wrong';
}

const stepTags = Object.fromEntries(STEPS.map((step) => [step, { name: step }]));
const answerTags = {};
function tagsOf(step, outcome, verdict) {
  const key = `${step} ${outcome} ${verdict}`;
  if (!answerTags[key]) answerTags[key] = { name: step, outcome, verdict };
  return answerTags[key];
}

let wrongsTold = 0;
export function wrong(step, outcome, text) {
  wrongAnswers.add(1);
  wrongsTold += 1;
  if (wrongsTold > WRONGS_TOLD) return;
  const shown = String(text).replace(/"token":"[^"]*"/g, '"token":"..."').replace(/\s+/g, ' ');
  console.log(`wrong ${step} ${outcome} ${shown.slice(0, 300)}`);
}

// Sends a request and judges the answer. k6's own object is not handed on: fans who wait would keep thousands of them.
// Of a request:
//   step, method, path, headers, body
//   right        the outcomes that are right
//   unheard      the outcomes that are right besides, when a first answer may have been lost (see `insist`)
//   bodyless     whether the body is thrown away
//   header       the header of the answer that is wanted
//   complaint    tells of a body and a right outcome what is wrong with it all the same, if anything
export async function ask(fan, request) {
  const { step, right, complaint } = request;
  const answer = await http.asyncRequest(request.method, (request.base || fan.base) + request.path, request.body || null, {
    headers: request.headers,
    tags: stepTags[step],
    responseType: request.bodyless ? 'none' : 'text',
    timeout: ANSWER_WITHIN,
  });
  const { status, body } = answer;
  const outcome = outcomeOf(status, body);
  let verdict = judge(right, answer, outcome);
  let text = body;
  if (verdict === 'right' && complaint) {
    text = complaint(body, outcome);
    if (text !== undefined) verdict = 'wrong';
  }
  answerMs.add(answer.timings.duration, tagsOf(step, outcome, verdict));
  if (verdict === 'wrong') wrong(step, outcome, `${fan.kind} ${fan.index}: ${text}`);
  const retryMs = verdict === 'refused' ? Number(answer.headers['Retry-After'] || 1) * 1000 : 0;
  return { outcome, verdict, body, retryMs, header: request.header && answer.headers[request.header] };
}

// Asks until there is an answer that is no refusal, at the times that the server names, or until patience ends.
export async function insist(fan, request) {
  let answer = await ask(fan, request);
  const again = Object.assign({}, request, { right: request.right.concat(request.unheard || []) });
  while (answer.verdict === 'refused' && Date.now() + answer.retryMs < fan.until) {
    await pause(answer.retryMs);
    answer = await ask(fan, again);
  }
  return answer;
}
