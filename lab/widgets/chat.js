// Draws the chat from the state that Python keeps (view.py) and tells Python what a person does.
// Only `html`, which Python made safe, is put in as HTML; everything else goes in as text.

const LAST = "lab.chat.conversation";
const DISMISSED = "lab.chat.demo-note-dismissed";
const EXAMPLES = [
  "My dog is called Zamiko.",
  "What is my dog called?",
  "I live in Belora.",
  "Where do I live?",
];
const ICONS = {
  menu: "M4 7h16M4 12h16M4 17h16",
  plus: "M12 5v14M5 12h14",
  rename: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  delete: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  attach: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  done: "M5 12l5 5L20 7",
  fork: "M7 4v6a4 4 0 0 0 4 4h2a4 4 0 0 1 4 4v2M7 4v16",
  home: "M4 11l8-7 8 7M6 10v10h12V10",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

function iconButton(name, label, onclick) {
  const props = { type: "button", className: `lab-icon lab-${name}`, title: label, onclick };
  return make("button", { ...props, "aria-label": label }, icon(name));
}

function textButton(text, className, onclick) {
  return make("button", { type: "button", className: `lab-button ${className}`, onclick }, text);
}

/** What stands in backticks in a message of the lab, as code. */
function codeIn(text) {
  return text.split("`").map((piece, i) => (i % 2 ? make("code", {}, piece) : piece));
}

function ago(iso) {
  const seconds = (Date.now() - new Date(iso)) / 1000;
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (seconds >= size) return format.format(-Math.floor(seconds / size), unit);
  }
  return "now";
}

/** Change only the blocks of `node` that differ, so that selections and open folds stay. */
function patch(node, html) {
  const blocks = [...make("template", { innerHTML: html }).content.childNodes];
  blocks.forEach((block, i) => {
    const old = node.childNodes[i];
    if (!old) return node.append(block);
    if (old.nodeName === "DETAILS" && block.nodeName === "DETAILS") block.open = old.open;
    if (!old.isEqualNode(block)) old.replaceWith(block);
  });
  while (node.childNodes.length > blocks.length) node.lastChild.remove();
}

function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    await navigator.clipboard.writeText(text());
    button.replaceChildren(icon("done"));
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  });
  return button;
}

/** The pictures of the page by their keys: what was chosen here is at hand, Python sends the rest. */
function gallery({ model, tell }) {
  const urls = new Map();
  const waiting = new Map(); // keys of pictures that were asked for, and where they go
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) fetch(target);
  });

  function fetch(image) {
    seen.unobserve(image);
    const { key } = image.dataset;
    if (urls.has(key)) return (image.src = urls.get(key));
    if (!waiting.has(key)) tell("picture", { key });
    waiting.set(key, [...(waiting.get(key) ?? []), image]);
  }

  function keep(key, blob) {
    urls.set(key, URL.createObjectURL(blob));
    for (const image of waiting.get(key) ?? []) image.src = urls.get(key);
    waiting.delete(key);
  }

  function picture(key, alt) {
    const image = make("img", { className: "lab-picture", alt });
    image.dataset.key = key;
    if (urls.has(key)) image.src = urls.get(key);
    else seen.observe(image); // and asked for when somebody looks
    return image;
  }

  model.on("msg:custom", ({ type, key }, buffers) => type === "picture" && keep(key, new Blob(buffers)));
  const stop = () => (seen.disconnect(), urls.forEach((url) => URL.revokeObjectURL(url)));
  return { keep, picture, stop };
}

/** The list of conversations. */
function sidebar({ model, tell, close }) {
  let edited = null; // {id, mode}: the row that is renamed or asks before it deletes
  const list = make("ul", { className: "lab-conversations" });
  const person = make("span", { className: "lab-person" });

  function edit(id, mode) {
    edited = mode && { id, mode };
    draw();
    const row = list.querySelector(`[data-id="${id}"]`);
    (row?.querySelector("input, .lab-danger") ?? row?.querySelector("button"))?.focus();
  }

  function row(item) {
    const mode = edited?.id === item.id ? edited.mode : "plain";
    return make("li", { "data-id": item.id }, ...{ plain, rename, delete: confirm }[mode](item));
  }

  function plain(item) {
    const open = make(
      "button",
      { type: "button", className: "lab-open", title: item.title },
      make("span", { className: "lab-title" }, item.title),
      make("small", {}, ago(item.updated_at)),
    );
    open.addEventListener("click", () => (tell("open", { id: item.id }), close()));
    if (item.id === model.get("conversation")) open.setAttribute("aria-current", "true");
    return [
      open,
      iconButton("rename", `Rename ${item.title}`, () => edit(item.id, "rename")),
      iconButton("delete", `Delete ${item.title}`, () => edit(item.id, "delete")),
    ];
  }

  function rename(item) {
    const input = make("input", { value: item.title, maxLength: 200, "aria-label": "New title" });
    const leave = () => edited && edit(item.id, null);
    input.addEventListener("blur", leave);
    input.addEventListener("keydown", (event) => {
      const title = input.value.trim();
      if (event.key === "Enter" && title) tell("rename", { id: item.id, title });
      if (event.key === "Enter" || event.key === "Escape") leave();
    });
    return [input];
  }

  function confirm(item) {
    const remove = () => ((edited = null), tell("delete", { id: item.id }));
    return [
      make("span", { className: "lab-ask" }, "Delete it?"),
      textButton("Delete", "lab-danger", remove),
      textButton("Keep", "", () => edit(item.id, null)),
    ];
  }

  function draw() {
    list.replaceChildren(...model.get("conversations").map(row));
  }

  function drawUnlessEdited() {
    const isThere = model.get("conversations").some((item) => item.id === edited?.id);
    if (isThere) return; // what is typed stays; leaving it draws
    edited = null;
    draw();
  }

  model.on("change:conversations", drawUnlessEdited);
  model.on("change:conversation", drawUnlessEdited);
  model.on("change:person", () => (person.textContent = model.get("person")));
  person.textContent = model.get("person");
  draw();
  const timer = setInterval(drawUnlessEdited, 60000);

  const fresh = textButton("New chat", "lab-new", () => (tell("new"), close()));
  fresh.prepend(icon("plus"));
  const allow = () => (fresh.disabled = !model.get("ready"));
  model.on("change:ready", allow);
  allow();
  const foot = make("footer", {}, person);
  const [root, inHub] = [location.pathname.split("/services/")[0], location.pathname.includes("/services/")];
  if (inHub) {
    const props = { href: `${root}/hub/home`, className: "lab-icon", title: "Home of the lab" };
    foot.append(make("a", { ...props, "aria-label": props.title }, icon("home")));
  }
  const node = make("nav", { className: "lab-sidebar", "aria-label": "Conversations" }, fresh, list, foot);
  return { node, stop: () => clearInterval(timer) };
}

/** The line above the messages: title and the profile that answers. */
function header({ model, tell, toggle }) {
  const title = make("h2", { className: "lab-heading" });
  const picker = make("select", { "aria-label": "Model" });
  picker.addEventListener("change", () => tell("choose", { profile: picker.value }));

  function drawTitle() {
    const open = model.get("conversations").find((c) => c.id === model.get("conversation"));
    title.textContent = open?.title ?? "New chat";
  }

  function option({ id, model, description }) {
    const name = model === id ? id : `${id} · ${model}`;
    return make("option", { value: id, title: description }, name);
  }

  function drawPicker() {
    const [known, chosen] = [model.get("profiles"), model.get("profile")];
    const unknown = chosen && !known.some((p) => p.id === chosen);
    const named = { id: chosen, model: chosen, description: "The lab does not have it." };
    picker.replaceChildren(...(unknown ? [...known, named] : known).map(option));
    picker.value = chosen;
  }

  model.on("change:conversation change:conversations", drawTitle);
  model.on("change:profiles change:profile", drawPicker);
  drawTitle();
  drawPicker();
  return make("header", { className: "lab-header" }, iconButton("menu", "Conversations", toggle), title, picker);
}

/** What to know about a model that is only there to demonstrate the lab. */
function demoNote({ model }) {
  const node = make("aside", { className: "lab-note" });
  const dismiss = () => (localStorage.setItem(DISMISSED, "yes"), draw());
  node.append(
    make(
      "p",
      {},
      make("b", {}, "This is a small demonstration model. "),
      "It recalls what you tell it, and knows nothing of the world. For a real one, see ",
      make("code", {}, "lab models"),
      " or set ",
      make("code", {}, "LAB_CHAT_MODEL"),
      ", for example to ",
      make("code", {}, "Qwen/Qwen3-0.6B"),
      ", and start the lab again.",
    ),
    iconButton("close", "Dismiss this note", dismiss),
  );

  function draw() {
    const profile = model.get("profiles").find((p) => p.id === model.get("profile"));
    node.hidden = !profile?.is_demo || localStorage.getItem(DISMISSED) === "yes";
  }

  model.on("change:profiles change:profile", draw);
  draw();
  return node;
}

/** The messages, the answer that streams, and what went wrong. */
function thread({ model, tell, pictures }) {
  const said = make("div", { className: "lab-said" });
  const live = make("div", { className: "lab-body" });
  const answering = make("article", { className: "lab-message lab-assistant lab-live" }, live);
  const problem = make("div", { className: "lab-problem", role: "alert" });
  const question = make("div", { className: "lab-question", role: "group", "aria-label": "The model asks" });
  const earlier = textButton("Show earlier messages", "lab-earlier", () => tell("earlier"));
  const welcome = make("section", { className: "lab-welcome" });
  welcome.append(
    make("h1", {}, "Tell me something to remember"),
    make("p", {}, "What you say stays with you: ask for it tomorrow, or three hundred messages later."),
    make(
      "div",
      { className: "lab-examples" },
      ...EXAMPLES.map((text) => textButton(text, "", () => tell("send", { text }))),
    ),
  );
  const column = make("div", { className: "lab-column" }, welcome, earlier, said, answering, question, problem);
  const node = make("main", { className: "lab-thread", tabIndex: -1 }, column);
  said.setAttribute("role", "log");
  said.setAttribute("aria-label", "Messages");

  let follow = true;
  node.addEventListener("scroll", () => {
    follow = node.scrollHeight - node.scrollTop - node.clientHeight < 60;
  });
  const keepUp = () => follow && (node.scrollTop = node.scrollHeight);
  const jump = () => ((follow = true), keepUp());

  function receipt(run_id) {
    const body = make("div", { className: "lab-receipt-body", "data-run": run_id }, "…");
    const fold = make("details", { className: "lab-receipt" }, make("summary", {}, "What the model saw"), body);
    fold.addEventListener("toggle", () => fold.open && tell("receipt", { run_id }));
    return fold;
  }

  const forkButton = (id) => iconButton("fork", "Go on from here in a new chat", () => tell("fork", { id }));

  function message({ id, role, html, run_id, pictures: keys }) {
    const body = make("div", { className: "lab-body", innerHTML: html });
    const node = make("article", { className: `lab-message lab-${role}`, "data-id": id }, body);
    if (keys.length) {
      const shown = keys.map((key) => pictures.picture(key, "Attached picture"));
      node.prepend(make("div", { className: "lab-pictures" }, ...shown));
    }
    body.querySelectorAll("pre").forEach((pre) => {
      pre.append(copyButton("Copy this code", () => pre.querySelector("code")?.innerText ?? pre.innerText));
    });
    if (role === "assistant" && run_id) {
      const copy = copyButton("Copy this answer", () => body.innerText);
      const under = make("div", { className: "lab-under" }, receipt(run_id), copy);
      if (!id.startsWith("answer-")) under.append(forkButton(id));
      node.append(under);
    } else if (role === "assistant" && !id.startsWith("answer-")) {
      node.append(make("div", { className: "lab-under" }, forkButton(id)));
    }
    return node;
  }

  function drawMessages() {
    const old = new Map([...said.children].map((child) => [child.dataset.id, child]));
    const last = said.lastElementChild?.dataset.id;
    const below = node.scrollHeight - node.scrollTop;
    said.replaceChildren(...model.get("messages").map((m) => old.get(m.id) ?? message(m)));
    drawWelcome();
    if (said.lastElementChild?.dataset.id !== last) jump();
    else node.scrollTop = node.scrollHeight - below;
  }

  function drawLive() {
    answering.hidden = !model.get("busy");
    answering.setAttribute("aria-busy", String(model.get("busy")));
    answering.classList.toggle("lab-waiting", !model.get("live"));
    patch(live, model.get("live"));
    keepUp();
  }

  function drawProblem() {
    const { text, retry } = model.get("problem");
    problem.hidden = !text;
    problem.replaceChildren(make("p", {}, ...codeIn(text ?? "")));
    if (retry) problem.append(textButton("Try again", "", () => tell("retry")));
    problem.append(iconButton("close", "Dismiss", () => tell("dismiss")));
    keepUp();
  }

  function drawQuestion() {
    const { run_id, html } = model.get("question");
    question.hidden = !run_id;
    question.innerHTML = html ?? "";
    if (!run_id) return;
    const decide = (approve) => () => tell("decide", { run_id, approve });
    question.append(textButton("Allow", "lab-allow", decide(true)), textButton("Deny", "", decide(false)));
    keepUp();
  }

  function drawWelcome() {
    const empty = !model.get("messages").length && !model.get("busy");
    welcome.hidden = !(empty && model.get("ready") && !model.get("conversation"));
    earlier.hidden = !model.get("has_earlier");
  }

  function fillReceipt({ type, run_id, html }) {
    if (type !== "receipt") return;
    const body = said.querySelector(`[data-run="${run_id}"]`);
    if (!body) return;
    body.innerHTML = html;
    body.querySelectorAll("time").forEach((time) => {
      const said_at = new Date(time.dateTime);
      time.textContent = said_at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    });
    keepUp();
  }

  model.on("change:messages", drawMessages);
  model.on("change:live change:busy", drawLive);
  model.on("change:problem", drawProblem);
  model.on("change:question", drawQuestion);
  model.on("change:ready change:busy change:conversation change:has_earlier", drawWelcome);
  model.on("msg:custom", fillReceipt);
  [drawMessages, drawLive, drawQuestion, drawProblem].forEach((draw) => draw());
  return node;
}

/** Where a person writes. */
function composer({ model, tell, mayFocus, pictures }) {
  const input = make("textarea", { rows: 1, placeholder: "Write a message", "aria-label": "Message" });
  const send = iconButton("send", "Send", () => submit());
  const stop = iconButton("stop", "Stop answering", () => tell("stop"));
  const files = make("input", { type: "file", accept: "image/png,image/jpeg,image/webp", multiple: true, hidden: true });
  const attach = iconButton("attach", "Attach pictures", () => files.click());
  const attached = make("ul", { className: "lab-attached", "aria-label": "Attached pictures" });
  let nChosen = 0;

  async function choose(file) {
    const key = `chosen-${Date.now()}-${(nChosen += 1)}`;
    const values = { key, name: file.name, n_bytes: file.size };
    if (file.size > model.get("most_bytes")) return tell("attach", values);
    pictures.keep(key, file);
    tell("attach", values, [await file.arrayBuffer()]);
  }

  function drawAttached() {
    const chips = model.get("attached").map(({ key, name }) =>
      make("li", {}, pictures.picture(key, name), iconButton("close", `Remove ${name}`, () => tell("detach", { key }))),
    );
    attached.replaceChildren(...chips);
    attached.hidden = !chips.length;
  }

  function drawAttach() {
    const profile = model.get("profiles").find((p) => p.id === model.get("profile"));
    attach.disabled = !model.get("ready") || profile?.sees === false;
    attach.title = profile?.sees === false ? `${profile.id} reads text only` : "Attach pictures";
  }

  function submit() {
    const text = input.value.trim();
    if (!text || model.get("busy") || !model.get("ready")) return;
    tell("send", { text });
    input.value = "";
    draw();
    input.focus();
  }

  function draw() {
    const busy = model.get("busy");
    send.hidden = busy;
    stop.hidden = !busy;
    send.disabled = !input.value.trim() || !model.get("ready");
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, 200)}px`;
  }

  input.addEventListener("input", draw);
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  files.addEventListener("change", async () => {
    for (const file of files.files) await choose(file);
    files.value = "";
    input.focus();
  });
  model.on("change:busy change:ready", draw);
  model.on("change:attached", drawAttached);
  model.on("change:ready change:profiles change:profile", drawAttach);
  model.on("change:conversation", () => mayFocus() && input.focus({ preventScroll: true }));
  [draw, drawAttached, drawAttach].forEach((part) => part());
  return make(
    "footer",
    { className: "lab-composer" },
    attached,
    make("div", { className: "lab-box" }, files, attach, input, send, stop),
    make("small", {}, "Enter sends · Shift+Enter makes a new line"),
  );
}

function render({ model, el }) {
  const alone = "voila" in document.body.dataset; // a page of its own, not a cell
  const root = make("div", { className: `lab-chat ${alone ? "lab-page" : "lab-cell"}` });
  const tell = (action, data = {}, buffers = []) => model.send({ action, ...data }, undefined, buffers);
  const close = () => root.classList.remove("lab-drawer-open");
  const toggle = () => root.classList.toggle("lab-drawer-open");
  const mayFocus = () => alone || root.contains(document.activeElement);
  const pictures = gallery({ model, tell });
  const context = { model, tell, close, toggle, mayFocus, pictures };
  const conversations = sidebar(context);
  root.append(
    conversations.node,
    make("div", { className: "lab-scrim", onclick: close }),
    make("div", { className: "lab-main" }, header(context), demoNote(context), thread(context), composer(context)),
  );
  // The shortcuts of JupyterLab must not fire while a person writes here.
  root.dataset.lmSuppressShortcuts = "true";
  root.addEventListener("keydown", (event) => (event.key === "Escape" && close(), event.stopPropagation()));
  if (alone) document.title = "Chat · LLM ML Lab";

  model.on("change:conversation", () => localStorage.setItem(LAST, model.get("conversation")));
  tell("look", { conversation: localStorage.getItem(LAST) ?? "" });
  el.append(root);
  return () => (conversations.stop(), pictures.stop());
}

export default { render };
