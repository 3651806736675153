// Draws the account of device memory that Python keeps (memory.py), and asks for it while it is
// shown. `html` was made safe in Python; the problem goes in as text.

const LOOK_MS = 2000;

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "lab-memory";
  const problem = document.createElement("p");
  problem.className = "lab-memory-problem";
  problem.setAttribute("role", "status");
  const account = document.createElement("div");
  box.append(problem, account);
  el.append(box);

  const draw = () => {
    account.innerHTML = model.get("html");
    problem.textContent = model.get("problem");
    problem.hidden = !model.get("problem");
  };
  const look = () => {
    if (!document.hidden) model.send({ action: "look" });
  };
  model.on("change", draw);
  draw();
  look();
  const timer = setInterval(look, LOOK_MS);
  return () => {
    clearInterval(timer);
    model.off("change", draw);
  };
}

export default { render };
