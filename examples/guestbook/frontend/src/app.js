// The page asks its own origin for /api: whichever preview or release serves it, it finds its backend.

const form = document.querySelector("#sign");
const list = document.querySelector("#entries");
const said = document.querySelector("#said");
const template = document.querySelector("#entry");
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

async function ask(path, options) {
  const answer = await fetch(path, options);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? "The book is closed for a moment. Please try again.");
  return body;
}

function post(path, value) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(value),
  });
}

function shown(entry) {
  const item = template.content.cloneNode(true);
  const written = new Date(entry.written_at);
  item.querySelector(".message").textContent = entry.message;
  item.querySelector(".name").textContent = entry.name;
  item.querySelector("time").textContent = day.format(written);
  item.querySelector("time").dateTime = written.toISOString();
  return item;
}

async function load() {
  try {
    const { entries } = await ask("/api/entries");
    list.replaceChildren(...entries.map(shown));
  } catch (error) {
    said.textContent = error.message;
  }
  list.ariaBusy = "false";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    list.prepend(shown(await post("/api/entries", Object.fromEntries(new FormData(form)))));
    form.reset();
    said.textContent = "Thank you!";
  } catch (error) {
    said.textContent = error.message;
  }
  button.disabled = false;
});

load();
