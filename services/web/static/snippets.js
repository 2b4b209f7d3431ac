// The same request from a program.

import { address, token } from "./service.js";

/** Return the texts "curl", "python" and "json" for a picture that has been answered. */
export function makeSnippets(name, answer, parameters) {
  const url = address("inference", parameters);
  return {
    curl: curlFor(name, url),
    python: pythonFor(name, address("inference"), parameters),
    json: formatJson(answer),
  };
}

/** One line for each detection. */
function formatJson({ data = [], ...others }) {
  const detections = data.map((detection) => `\n  ${JSON.stringify(detection)}`).join(",");
  const members = Object.entries(others).map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  return `{\n "data": [${detections}],\n ${members.join(",\n ")}\n}`;
}

function curlFor(name, url) {
  const parts = ["curl"];
  if (token() !== "") parts.push('-H "Authorization: Bearer $TOKEN"');
  // curl takes ; and , for the end of an unquoted name.
  const file = /^[\w.-]+$/.test(name) ? name : `"${name.replace(/[\\"]/g, "\\$&")}"`;
  parts.push("-F", quoteForShell(`image=@${file}`), quoteForShell(url.href));
  return parts.join(" ");
}

function quoteForShell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function pythonFor(name, url, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  const lines = [
    "import httpx",
    "",
    `with open(${quoteForPython(name)}, "rb") as picture:`,
    "    response = httpx.post(",
    `        ${quoteForPython(url.href)},`,
    `        params={${given.map(([key, value]) => `${quoteForPython(key)}: ${quoteForPython(value)}`).join(", ")}},`,
    '        files={"image": picture},',
  ];
  if (token() !== "") lines.push('        headers={"Authorization": f"Bearer {TOKEN}"},');
  lines.push("    )", "response.raise_for_status()", 'print(response.json()["data"])');
  if (token() !== "") lines.splice(1, 0, 'TOKEN = "..."');
  return lines.join("\n");
}

// A JSON string is a Python string, and a JSON number a Python number.
const quoteForPython = (value) => JSON.stringify(value);
