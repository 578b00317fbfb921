// The page of `kubectl lifecycle ui`, and of `kubectl lifecycle report`.
//
// Text of the cluster only ever becomes a text node: `el` makes elements, and nothing sets innerHTML.
// Each part of the page is made anew only when what it shows has changed, so that the focus stays.
"use strict";

const app = document.getElementById("app");
const fixed = document.getElementById("data");
const token = new URLSearchParams(location.search).get("token") ?? "";
/** The most characters of a log that are kept. */
const MOST_LOG = 512 * 1024;
/** The time after which a connection without a line counts as lost. */
const SILENCE = 25_000;
const MOODS = [
  ["bad", "Failed"], ["held", "Waits for you"], ["busy", "Running"], ["unknown", "Unknown"],
  ["good", "Ready"],
];
const RANK = Object.fromEntries(MOODS.map(([mood], index) => [mood, index]));
const TABS = [
  ["", "Timeline"], ["logs", "Logs"], ["history", "History"], ["plan", "Plan"],
  ["diff", "Diff"], ["events", "Events"], ["doctor", "Doctor"],
];

/** Makes an element. Children are elements and texts; null is left out. */
function el(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Shows `make(value)` in `place`, unless it shows that value already. */
function show(place, value, make) {
  const text = JSON.stringify(value ?? null);
  if (place.shown === text) return;
  const open = [...place.querySelectorAll("details[open]")].map((it) => it.dataset.key);
  place.shown = text;
  place.replaceChildren(...[make(value)].flat().filter(Boolean));
  for (const details of place.querySelectorAll("details")) {
    if (open.includes(details.dataset.key)) details.open = true;
  }
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Removes the orders that a log may have for a terminal. */
function printable(text) {
  return text.replace(/\u001b\[[0-?]*[ -/]*[@-~]/g, "").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "");
}

function span(milliseconds, ticks = false) {
  const seconds = Math.max(0, milliseconds / 1000);
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  if (seconds < 9.95 && !ticks) return `${seconds.toFixed(1)}s`;
  if (seconds < 60) return `${ticks ? Math.floor(seconds) : Math.round(seconds)}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h${two((seconds / 60) % 60)}m`;
  return `${Math.floor(seconds / 86400)}d${two((seconds / 3600) % 24)}h`;
}

function clock(time) {
  const at = new Date(time);
  const today = at.toDateString() === new Date().toDateString();
  return today ? at.toLocaleTimeString() : at.toLocaleString();
}

/** A time that ticks: how long ago `from` was, or how long it was until `to`. */
function lasted(from, to) {
  const element = el("span", { title: from && clock(from) });
  if (!from) return element;
  if (to) element.textContent = span(Date.parse(to) - Date.parse(from));
  else element.dataset.from = from;
  return element;
}

/** A text with the commands that it has in backticks. */
function rich(text) {
  return printable(text).split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

/** Brings all that depends on the present time up to date. */
function tick() {
  const now = fixed ? Date.parse(JSON.parse(fixed.textContent).madeAt) : Date.now();
  for (const element of app.querySelectorAll("[data-from]")) {
    setText(element, span(now - Date.parse(element.dataset.from), true));
  }
  for (const bar of app.querySelectorAll(".bar")) {
    const start = Date.parse(bar.dataset.start);
    const end = bar.dataset.end ? Date.parse(bar.dataset.end) : now;
    const whole = Math.max(end - start, 1);
    const from = Date.parse(bar.dataset.begun) - start;
    const to = (bar.dataset.ended ? Date.parse(bar.dataset.ended) : now) - start;
    bar.style.left = `${Math.min(99, Math.max(0, (100 * from) / whole))}%`;
    bar.style.width = `${Math.max(0.5, Math.min(100, (100 * (to - from)) / whole))}%`;
  }
}

// Requests

function ask(path, options) {
  const headers = { Authorization: `Bearer ${token}`, ...options?.headers };
  return fetch(path, { ...options, headers, cache: "no-store" });
}

/** Returns the JSON of an answer; an error with its text if it is no success. */
async function json(answer) {
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

/** The text of an answer, part by part as it arrives. */
async function* parts(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

function address({ namespace, name }, rest = "") {
  return `/api/releases/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}${rest}`;
}

/** Calls `take` with each line of the answer, and asks again when it ends, until `signal` is aborted. */
async function follow(path, signal, take) {
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 10_000)) {
    const silence = new AbortController();
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE);
    };
    try {
      heard();
      const answer = await ask(path, { signal: AbortSignal.any([signal, silence.signal]) });
      if (answer.status === 401) {
        connection("This address is of an earlier start: open the one that the command has printed.");
        return;
      }
      if (!answer.ok) throw new Error((await answer.text()).trim());
      connection("");
      let rest = "";
      for await (const part of parts(answer)) {
        heard();
        const lines = (rest + part).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          const value = JSON.parse(line);
          if (value.type === "trouble") connection(value.message);
          else if (value.type !== "beat") {
            connection("");
            take(value);
          }
        }
        wait = 500;
      }
    } catch (error) {
      if (signal.aborted) return;
      connection(error instanceof TypeError || error.name === "AbortError"
        ? "`kubectl lifecycle ui` does not answer: was it ended?" : error.message);
    } finally {
      clearTimeout(timer);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

const state = el("span", { class: "link-state", role: "status" });

function connection(trouble) {
  setText(state, trouble || (fixed ? "" : "live"));
  state.classList.toggle("trouble", trouble !== "");
}

// The table of all releases

const releases = new Map();
let listed = false;

function table(signal) {
  const rows = new Map();
  const seen = new Set();
  let chosen = "";
  const search = el("input", {
    type: "search", placeholder: "Filter by name, namespace or message (press /)",
    "aria-label": "Filter", oninput: draw,
  });
  const buttons = MOODS.map(([mood, label]) => {
    const button = el("button", {
      type: "button", "aria-pressed": "false",
      onclick: () => { chosen = chosen === mood ? "" : mood; draw(); },
    });
    return { mood, label, button };
  });
  const body = el("tbody");
  const empty = el("p", { class: "dim" });
  const head = ["State", "Namespace", "Release", "Operation", "Now", "Since"];
  app.replaceChildren(
    el("header", {}, el("h1", {}, "Releases"), state),
    el("div", { class: "filters" }, search, buttons.map((it) => it.button)),
    el("table", { class: "releases" },
      el("thead", {}, el("tr", {}, head.map((it) => el("th", { scope: "col" }, it)))), body),
    empty,
  );
  document.title = "Releases";
  const onkey = (event) => {
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
    }
  };
  document.addEventListener("keydown", onkey, { signal });

  function cells(release) {
    const { namespace, name, mood, ready, event, revision, message } = release;
    const marks = [release.suspended && "suspended", release.deleting && "being deleted"].filter(Boolean);
    return [
      el("td", { class: `mood mood-${mood}`, title: ready }, MOODS[RANK[mood]][1]),
      el("td", { class: "dim" }, namespace),
      el("td", {}, el("a", { href: `#/${namespace}/${name}` }, name)),
      el("td", {}, event ? `${event.toLowerCase()} ${revision}` : "", marks.length ? ` (${marks.join(", ")})` : ""),
      el("td", { class: "text" }, rich(message)),
      el("td", { class: "narrow" }, lasted(release.to ?? release.from)),
    ];
  }

  function draw() {
    const wanted = search.value.toLowerCase();
    const all = [...releases.values()];
    for (const { mood, label, button } of buttons) {
      setText(button, `${label} ${all.filter((it) => it.mood === mood).length}`);
      button.setAttribute("aria-pressed", String(mood === chosen));
    }
    const found = all.filter((it) => (!chosen || it.mood === chosen)
      && (!wanted || `${it.key} ${it.message}`.toLowerCase().includes(wanted)));
    found.sort((a, b) => RANK[a.mood] - RANK[b.mood] || (a.key < b.key ? -1 : 1));
    const keys = new Set(found.map((it) => it.key));
    for (const [key, row] of rows) {
      if (!keys.has(key)) {
        row.remove();
        rows.delete(key);
      }
    }
    found.forEach((release, index) => {
      let row = rows.get(release.key);
      if (!row) rows.set(release.key, row = el("tr"));
      show(row, release, cells);
      if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    });
    setText(empty, found.length ? "" : !listed ? "Reading the releases…"
      : all.length ? "No release is like that." : "There is no ReleaseLifecycle.");
    tick();
  }

  let timer;
  const later = () => { timer ??= setTimeout(() => { timer = undefined; draw(); }, 100); };
  draw();
  follow("/api/releases", signal, (line) => {
    if (line.type === "init") seen.clear();
    if (line.type === "release") {
      seen.add(line.release.key);
      releases.set(line.release.key, line.release);
    }
    if (line.type === "gone") releases.delete(line.key);
    if (line.type === "listed") {
      listed = true;
      for (const key of releases.keys()) if (!seen.has(key)) releases.delete(key);
    }
    later();
  });
}

// One release

function page(place, tab, signal) {
  const head = el("header");
  const notes = el("div");
  const actions = el("div", { class: "actions" });
  const answer = el("div", { role: "status", class: "answer" });
  const content = el("main");
  const base = `#/${place.namespace}/${place.name}`;
  const tabs = el("nav", { "aria-label": "Parts" }, TABS.map(([name, label]) => el("a", {
    href: name ? `${base}/${name}` : base, "aria-current": name === tab ? "page" : null,
  }, label)));
  app.replaceChildren(head, notes, actions, answer, tabs, content);
  document.title = `${place.name} – Releases`;
  const onkey = (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) location.hash = "#/";
  };
  document.addEventListener("keydown", onkey, { signal });
  let tabShown = false;
  follow(address(place), signal, (line) => {
    if (line.type === "gone") {
      show(notes, "gone", () => el("div", { class: "notes" },
        el("p", {}, `There is no ReleaseLifecycle ${place.namespace}/${place.name}, or no longer.`)));
      actions.replaceChildren();
      return;
    }
    const { detail } = line;
    show(head, { release: detail.release }, () => title(detail));
    show(notes, [detail.notes, detail.tests, detail.release.mood], () => remarks(detail));
    // What is asked for is about what was shown.
    const about = { uid: detail.release.uid, operation: detail.release.operation, digest: detail.digest };
    show(actions, [detail.actions, about], () => detail.actions.map((action) =>
      button(action, { ...about, action: action.action }, place, answer)));
    if (tab === "") show(content, detail, timeline);
    else if (!tabShown) {
      tabShown = true;
      PARTS[tab](content, place, detail, signal, (request, action) =>
        button(action, { ...about, ...request }, place, answer));
    } else content.update?.(detail);
    tick();
  });
}

function title({ release }) {
  const { namespace, name, ready, event, revision, mood, chart, from, to } = release;
  const operation = event
    ? el("span", {}, `${event.toLowerCase()} of revision ${revision}, ${to ? "took" : "for"} `, lasted(from, to),
      to ? `, ended ${clock(to)}` : "")
    : null;
  return [
    fixed ? null : el("a", { href: "#/" }, "Releases"),
    el("h1", {}, `${namespace}/${name}`),
    el("span", { class: `mood mood-${mood}` }, ready),
    operation,
    chart?.name ? el("span", { class: "dim" }, `${chart.name} ${chart.version ?? ""}`) : null,
    state,
  ];
}

function remarks({ notes, tests, release }) {
  const all = [...notes, tests].filter(Boolean);
  if (!all.length) return [];
  return el("div", { class: `notes mood-${release.mood}` }, all.map((note) => el("p", {}, rich(note))));
}

function button(action, request, place, answer) {
  return el("button", {
    type: "button", class: action.isFinal ? "final" : null,
    onclick: () => confirm(action, () => send(request, place, answer)),
  }, action.label);
}

/** Asks whether it is meant, with the command that does the same. */
function confirm(action, then) {
  const dialog = el("dialog", { "aria-labelledby": "question" });
  const close = () => { dialog.close(); dialog.remove(); };
  dialog.append(
    el("h2", { id: "question" }, `${action.label}?`),
    el("p", {}, action.says),
    el("p", {}, el("code", {}, action.command)),
    el("div", { class: "actions" },
      el("button", { type: "button", autofocus: true, onclick: close }, "No"),
      el("button", {
        type: "button", class: action.isFinal ? "final" : null,
        onclick: () => { close(); then(); },
      }, action.label)),
  );
  dialog.addEventListener("cancel", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

async function send(request, place, answer) {
  setText(answer, "…");
  try {
    const said = await ask(address(place, "/request"), {
      method: "POST", body: JSON.stringify(request), headers: { "Content-Type": "application/json" },
    });
    const { isGood, output } = await json(said);
    answer.classList.toggle("trouble", !isGood);
    setText(answer, printable(output).trim());
  } catch (error) {
    answer.classList.add("trouble");
    setText(answer, error.message);
  }
}

function timeline(detail) {
  const { steps, release, plan } = detail;
  return [
    plan ? el("section", {}, el("h2", {}, "Plan that waits for an approval"), el("pre", {}, printable(plan))) : null,
    el("ol", { class: "steps" }, steps.map((step, index) => row(step, index, release))),
    detail.until ? el("p", { class: "dim" }, `It is waited for until ${clock(detail.until)}.`) : null,
  ];
}

function row(step, index, release) {
  const { mark, from, to, event } = step;
  const kind = mark.replace(" ", "-");
  const bar = from ? el("div", {
    class: `bar ${kind}`, "data-start": release.from, "data-end": release.to,
    "data-begun": from, "data-ended": to,
  }) : null;
  const words = [
    event, event ? `weight ${step.weight}` : null,
    step.attempt > 1 ? `attempt ${step.attempt}` : null, step.rule ? `by ${step.rule}` : null,
    step.ignored ? "its failure is ignored" : null, ["skipped", "not reached"].includes(mark) ? mark : null,
    step.doing, step.until && !step.next ? `until ${clock(step.until)}` : null,
    step.next ? `begins at ${clock(step.next)}` : null,
  ].filter(Boolean).join(" · ");
  return el("li", { class: `is-${kind}` },
    el("div", { class: "step" },
      el("div", {}, el("span", { class: `mark mark-${kind}`, "aria-label": mark, role: "img" }),
        event ? el("strong", {}, step.title) : step.title,
        words ? el("div", { class: "more dim" }, words) : null),
      event ? el("div", { class: "track" }, bar) : el("div"),
      el("div", { class: "time" }, event ? lasted(from, to) : "")),
    step.waiting ? el("div", { class: "more" }, rich(step.waiting)) : null,
    (step.attempts ?? []).map((attempt) => el("details", { class: "more", "data-key": `${index}/${attempt.attempt}` },
      el("summary", {}, `attempt ${attempt.attempt} failed: `, printable(attempt.outcome)),
      attempt.log ? el("pre", {}, printable(attempt.log)) : null)),
    step.outcome ? el("div", { class: `more outcome-${kind}` }, rich(step.outcome)) : null,
    step.log ? el("div", { class: "more" }, el("pre", {}, printable(step.log)),
      fixed ? null : el("a", {
        href: `#/${release.namespace}/${release.name}/logs?${step.hook}`,
      }, "the whole log")) : null);
}

// The other parts of a release

const PARTS = { logs, history, plan: output("plan"), diff: output("diff"), events: output("events"), doctor: output("doctor") };

function logs(content, place, detail, signal) {
  let hooks = detail.steps.filter((step) => step.hook);
  if (!hooks.length) {
    content.replaceChildren(el("p", { class: "dim" }, "The operation has no hook."));
    return;
  }
  const asked = decodeURIComponent(location.hash.split("?")[1] ?? "");
  const urgent = hooks.findLast((it) => it.mark === "active") ?? hooks.findLast((it) => it.mark === "failed")
    ?? hooks.findLast((it) => it.from) ?? hooks[0];
  const chosen = hooks.find((it) => it.hook === asked) ?? urgent;
  const which = el("select", { onchange: () => { attempts(); read(); } });
  const attempt = el("select", { onchange: read });
  const follows = el("input", { type: "checkbox", checked: true, onchange: read });
  const text = el("pre", { tabindex: "0", "aria-label": "Log" });
  content.replaceChildren(
    el("div", { class: "log-controls" }, el("label", {}, "Hook ", which), el("label", {}, "Attempt ", attempt),
      el("label", {}, follows, " Follow")), text);
  let reading = new AbortController();
  signal.addEventListener("abort", () => reading.abort());
  const option = (value, text) => el("option", { value }, text);
  const last = () => hooks.find((it) => it.hook === which.value)?.attempt ?? 0;
  function choose(hook) {
    show(which, hooks.map((it) => [it.hook, it.event]), () =>
      hooks.map((it) => option(it.hook, `${it.event} ${it.hook}`)));
    which.value = hook;
  }
  function attempts() {
    const asked = attempt.value;
    const earlier = Array.from({ length: Math.max(0, last() - 1) }, (_, at) => String(at + 1));
    show(attempt, earlier, () => [option("", "last"), ...earlier.map((it) => option(it, it))]);
    attempt.value = earlier.includes(asked) ? asked : "";
  }
  // The next attempt of a hook is followed, too.
  content.update = (detail) => {
    const before = [which.value, last()];
    hooks = detail.steps.filter((step) => step.hook);
    choose(hooks.some((it) => it.hook === before[0]) ? before[0] : hooks[0]?.hook ?? "");
    attempts();
    if (attempt.value === "" && hooks.length && (which.value !== before[0] || last() !== before[1])) read();
  };
  choose(chosen.hook);
  attempts();

  async function read() {
    reading.abort();
    const mine = reading = new AbortController();
    text.textContent = "";
    const query = new URLSearchParams({ hook: which.value, follow: String(follows.checked) });
    if (attempt.value) query.set("attempt", attempt.value);
    try {
      const answer = await ask(address(place, `/logs?${query}`), { signal: mine.signal });
      for await (const part of parts(answer)) {
        if (mine.signal.aborted) break;
        const atEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
        text.append(printable(part));
        trim(text);
        if (atEnd) text.scrollTop = text.scrollHeight;
      }
    } catch (error) {
      if (!mine.signal.aborted) text.append(error.message);
    }
  }
  read();
}

/** Drops the beginning of a log that is too long. */
function trim(text) {
  let length = text.textContent.length;
  while (length > MOST_LOG && text.childNodes.length > 1) {
    length -= text.firstChild.length;
    text.firstChild.remove();
  }
}

async function command(content, place, name) {
  content.replaceChildren(el("p", { class: "dim" }, "…"));
  return json(await ask(address(place, `/${name}`)));
}

/** The output of a command that reads. */
function output(name) {
  return async function show(content, place, detail, signal) {
    try {
      const { output, complaints } = await command(content, place, name);
      if (signal.aborted) return;
      const again = el("button", { type: "button", onclick: () => show(content, place, detail, signal) }, "Again");
      content.replaceChildren(el("p", { class: "dim" },
        el("code", {}, `kubectl lifecycle ${name} ${place.name} -n ${place.namespace}`), " ", again),
      el("pre", { tabindex: "0" }, printable(output + complaints).trim() || "Nothing."));
    } catch (error) {
      content.replaceChildren(el("p", { class: "trouble" }, error.message));
    }
  };
}

async function history(content, place, detail, signal, request) {
  try {
    const { isGood, output, complaints } = await command(content, place, "history");
    if (signal.aborted) return;
    if (!isGood) throw new Error(printable(complaints));
    const rollback = detail.actions.find((it) => it.action === "rollback");
    content.replaceChildren(revisions(JSON.parse(output), rollback && ((revision) => request(
      { action: "rollback", revision },
      { ...rollback, label: `Roll back to ${revision}`, command: rollback.command.replace(place.name, `${place.name} ${revision}`) },
    ))));
  } catch (error) {
    content.replaceChildren(el("p", { class: "trouble" }, error.message));
  }
}

function revisions(all, rollback) {
  if (!all.length) return el("p", { class: "dim" }, "There is no revision yet.");
  const head = ["Revision", "Updated", "Status", "Event", "Description", ""];
  const latest = all.at(-1).revision;
  return el("table", {},
    el("thead", {}, el("tr", {}, head.map((it) => el("th", { scope: "col" }, it)))),
    el("tbody", {}, all.toReversed().map((it) => el("tr", {},
      el("td", {}, String(it.revision)), el("td", { class: "narrow" }, it.updated ? clock(it.updated) : ""),
      el("td", {}, it.status), el("td", {}, it.event ?? ""), el("td", { class: "text" }, printable(it.description)),
      el("td", {}, rollback && it.revision !== latest && ["superseded", "deployed"].includes(it.status)
        ? rollback(it.revision) : null)))));
}

// The page that is shown

let shown = new AbortController();

function route() {
  shown.abort();
  shown = new AbortController();
  const [, namespace, name, tab = ""] = location.hash.split("?")[0].split("/");
  const part = TABS.some(([known]) => known === tab) ? tab : "";
  if (namespace && name) page({ namespace, name }, part, shown.signal);
  else table(shown.signal);
}

function report({ detail, revisions: all, madeAt, by }) {
  document.title = `${detail.release.name}: report`;
  app.replaceChildren(
    el("header", {}, title(detail)), el("div", {}, remarks(detail)), el("main", {}, timeline(detail),
      el("h2", {}, "Revisions"), all ? revisions(all) : el("p", { class: "dim" }, "They were not read."),
      el("p", { class: "dim" }, `Made at ${new Date(madeAt).toLocaleString()} by ${by}.`)));
  tick();
}

if (fixed) report(JSON.parse(fixed.textContent));
else {
  connection("");
  setInterval(tick, 1000);
  addEventListener("hashchange", route);
  route();
}
