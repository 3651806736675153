// Draws research from the state that Python keeps (research.py), and tells Python what a person
// does. Only `html`, which Python made safe, is put in as HTML; everything else goes in as text.

const SHOWN = { search: "search", gather: "read", analyse: "analyse", plan: "plan",
  synthesise: "write", verify: "verify" };

function render({ model, el }) {
  const field = make("textarea", {
    rows: 2, placeholder: "What is to be found out?", "aria-label": "Question",
  });
  const problem = make("p", { className: "lab-research-problem", role: "alert" });
  const list = make("ul", { className: "lab-research-list", "aria-label": "Former research" });
  const head = make("div", { className: "lab-research-head" });
  const progress = make("div", { className: "lab-research-progress", role: "status" });
  const report = make("article", { className: "lab-research-report" });
  const quote = make("aside", { className: "lab-research-quote", hidden: true });
  quote.setAttribute("aria-label", "Citation");

  const send = (action, values = {}) => model.send({ action, ...values });
  const ask = (event) => {
    event.preventDefault();
    const question = field.value.trim();
    if (!question) return;
    field.value = "";
    send("ask", { question });
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) ask(event);
  });
  const form = make("form", { className: "lab-research-ask", onsubmit: ask },
    field, make("button", { type: "submit", className: "lab-research-main" }, "Research"));

  const drawList = () => {
    const open = model.get("task").id;
    list.replaceChildren(...model.get("tasks").map((task) => make(
      "li", { className: task.id === open ? "lab-open" : "" },
      make("button", { type: "button", title: task.question,
        onclick: () => send("open", { id: task.id }) }, task.question),
      make("span", { className: `lab-status lab-${task.status}` }, task.status),
      make("button", { type: "button", className: "lab-research-x", title: "Delete",
        "aria-label": `Delete ${task.question}`, onclick: () => send("delete", { id: task.id }) }, "×"),
    )));
  };

  const drawHead = () => {
    const task = model.get("task");
    head.replaceChildren();
    if (!task.id) return;
    head.append(make("span", { className: `lab-status lab-${task.status}` }, task.status));
    if (model.get("busy")) {
      head.append(make("button", { type: "button", onclick: () => send("cancel") }, "Cancel"));
    } else if (task.status !== "completed") {
      head.append(make("button", { type: "button", onclick: () => send("resume") }, "Resume"));
    }
    if (task.error) head.append(make("span", { className: "lab-research-error" }, task.error));
  };

  const drawProgress = () => {
    progress.replaceChildren();
    progress.hidden = model.get("task").status === "completed";
    for (const row of model.get("questions")) {
      progress.append(make("div", { className: "lab-research-row" },
        make("span", { className: "lab-research-question" }, row.question || "Plan and report"),
        make("span", { className: "lab-research-steps" }, ...row.steps.map((step) => make(
          "span", { className: `lab-step lab-${step.status}`, title: step.status },
          SHOWN[step.kind] || step.kind,
        )))));
    }
  };

  const close = () => { quote.hidden = true; };
  const openQuote = (button) => {
    const number = Number(button.dataset.number);
    const cited = model.get("citations").filter((one) => one.number === number);
    if (!cited.length) return;
    const [one] = cited;
    const isWeb = /^https?:\/\//i.test(one.url);
    const link = isWeb
      ? make("a", { href: one.url, target: "_blank", rel: "noopener noreferrer nofollow" }, one.url)
      : make("span", {}, one.url);
    const wrong = cited.filter((each) => !each.verified);
    const verdict = wrong.length ? `not verified: ${wrong[0].reason}` : "verified";
    quote.replaceChildren(
      make("button", { type: "button", className: "lab-research-x", title: "Close",
        "aria-label": "Close", onclick: close }, "×"),
      make("h3", {}, `[${number}] ${one.title}`),
      make("blockquote", {}, one.quote),
      make("p", {}, link),
      make("p", { className: wrong.length ? "lab-wrong" : "lab-right" },
        one.is_there ? verdict : `${verdict}; the page was deleted since`),
      make("p", { className: "lab-research-small" },
        `characters ${one.start}–${one.end} of the snapshot ${one.sha256.slice(0, 16)}`),
    );
    quote.hidden = false;
    const block = button.closest("li");
    if (block) block.append(quote);
    else button.closest("p").after(quote);
    quote.scrollIntoView({ block: "nearest" });
  };
  report.addEventListener("click", (event) => {
    const button = event.target.closest(".lab-cite");
    if (button) openQuote(button);
  });

  const draws = {
    "change:tasks": [drawList],
    "change:task": [drawList, drawHead, drawProgress],
    "change:busy": [drawHead],
    "change:questions": [drawProgress],
    "change:html": [() => { report.innerHTML = model.get("html"); close(); }],
    "change:problem": [() => {
      problem.textContent = model.get("problem");
      problem.hidden = !model.get("problem");
    }],
  };
  for (const [name, functions] of Object.entries(draws)) {
    for (const draw of functions) { model.on(name, draw); draw(); }
  }
  el.append(make("div", { className: "lab-research" },
    make("nav", {}, make("a", { href: "/hub/home", className: "lab-research-home" }, "The lab"),
      make("h2", {}, "Asked before"), list),
    make("main", {}, form, problem, head, progress, report)));
  send("look");
  return () => {
    for (const [name, functions] of Object.entries(draws)) {
      for (const draw of functions) model.off(name, draw);
    }
  };
}

export default { render };
