// k6: new fans join at a steady rate, each once. Only 201 counts.
//
//   k6 run -e BASE_URLS=http://127.0.0.1:8080,... -e CONCERT=... -e TOKENS=file -e RATE=2000 -e SECS=10 loadtest/joins.js
import { SharedArray } from "k6/data";
import exec from "k6/execution";
import http from "k6/http";
import { Counter } from "k6/metrics";

const tokens = new SharedArray("fans", () => open(__ENV.TOKENS).trim().split("\n"));
const bases = __ENV.BASE_URLS.split(",");
const wrong = new Counter("wrong_answers");

export const options = {
  scenarios: {
    joins: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE),
      duration: `${__ENV.SECS}s`,
      preAllocatedVUs: 200,
      maxVUs: 1000,
    },
  },
  thresholds: { wrong_answers: ["count==0"], dropped_iterations: ["count==0"] },
  summaryTrendStats: ["med", "p(95)", "p(99)", "max"],
  discardResponseBodies: true,
};

export default function () {
  const n = exec.scenario.iterationInTest;
  const url = `${bases[n % bases.length]}/api/v1/concerts/${__ENV.CONCERT}/queue/tokens`;
  const answer = http.post(url, null, { headers: { Authorization: `Bearer ${tokens[n]}` }, tags: { name: "join" } });
  if (answer.status !== 201) wrong.add(1);
}

export function handleSummary(data) {
  const time = data.metrics.http_req_duration.values;
  const count = (name) => (data.metrics[name] ? data.metrics[name].values.count : 0);
  const ms = (value) => value.toFixed(1);
  const line = `p50 ${ms(time.med)} ms, p95 ${ms(time["p(95)"])} ms, p99 ${ms(time["p(99)"])} ms, max ${ms(time.max)} ms; ` +
    `${count("iterations")} joins, ${count("wrong_answers")} wrong, ${count("dropped_iterations")} not sent`;
  return { stdout: `${line}\n` };
}
