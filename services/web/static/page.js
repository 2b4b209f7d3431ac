const element = (id) => document.getElementById(id);

function say(text, kind = "info") {
  element("said").textContent = text;
  element("said").dataset.kind = kind;
}

function hueOf(label) {
  return [...label].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 7);
}

function draw(answer) {
  const canvas = element("boxes");
  canvas.width = answer.image.width;
  canvas.height = answer.image.height;
  const line = Math.max(2, Math.min(canvas.width, canvas.height) / 200);
  const pen = canvas.getContext("2d");
  pen.lineWidth = line;
  pen.font = `${Math.max(11, line * 5)}px sans-serif`;
  pen.textBaseline = "top";
  for (const [label, score, [cx, cy, w, h]] of answer.data) {
    const x = cx - w / 2, y = cy - h / 2, text = `${label} ${score.toFixed(2)}`;
    pen.strokeStyle = pen.fillStyle = `hsl(${hueOf(label)} 90% 60%)`;
    pen.strokeRect(x, y, w, h);
    pen.fillRect(Math.max(0, x), Math.max(0, y), pen.measureText(text).width + 4, line * 6);
    pen.fillStyle = "black";
    pen.fillText(text, Math.max(0, x) + 2, Math.max(0, y) + 1);
  }
}

function list(answer) {
  const body = element("found").tBodies[0];
  body.replaceChildren(...answer.data.map(([label, score, box]) => {
    const row = document.createElement("tr");
    for (const text of [label, score.toFixed(3), box.map((n) => n.toFixed(0)).join(", ")]) {
      row.insertCell().textContent = text;
    }
    return row;
  }));
  element("found").hidden = answer.data.length === 0;
}

async function detect(file) {
  if (!file) return;
  element("view").hidden = element("found").hidden = true;
  say("Detecting…");
  const form = new FormData();
  form.append("image", file);
  const started = performance.now();
  let answer;
  try {
    const response = await fetch("/inference", { method: "POST", body: form });
    answer = await response.json();
    if (!response.ok) {
      say(`${answer.title}: ${answer.detail}`, "error");
      return;
    }
  } catch {
    say("The service did not answer.", "error");
    return;
  }
  const spent = Math.round(performance.now() - started);
  const picture = element("picture");
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(file);
  await picture.decode();
  element("view").hidden = false;
  draw(answer);
  list(answer);
  say(`${answer.data.length} found by ${answer.model.name} in ${spent} ms.`);
}

element("file").addEventListener("change", (event) => detect(event.target.files[0]));
const drop = element("drop");
drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  detect(event.dataTransfer.files[0]);
});
