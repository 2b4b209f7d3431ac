// The same request from a program.

import { address, token } from "./service.js";

/**
 * Return the texts "curl", "python" and "json" for a picture that has been answered. `sample` is the
 * URL of the file, if it is one that the service has.
 */
export function makeSnippets(name, answer, parameters, sample) {
  const url = address("inference", parameters);
  return {
    curl: curlFor(name, url, sample),
    python: pythonFor(name, address("inference"), parameters, sample),
    json: formatJson(answer),
  };
}

/** One line for each detection. */
function formatJson({ data = [], ...others }) {
  const detections = data.map((detection) => `\n  ${JSON.stringify(detection)}`).join(",");
  const members = Object.entries(others).map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  return `{\n "data": [${detections}],\n ${members.join(",\n ")}\n}`;
}

function curlFor(name, url, sample) {
  const parts = ["curl"];
  if (sample) parts.unshift("curl", "-o", quoteForShell(name), quoteForShell(sample), "&&");
  if (token() !== "") parts.push('-H "Authorization: Bearer $TOKEN"');
  // curl takes ; and , for the end of an unquoted name.
  const quoted = /^[\w.-]+$/.test(name) ? name : `"${name.replace(/[\\"]/g, "\\$&")}"`;
  const file = name === "-" ? "./-" : quoted; // "-" is the standard input
  parts.push("-F", quoteForShell(`image=@${file}`), quoteForShell(url.href));
  return parts.join(" ");
}

function quoteForShell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function pythonFor(name, url, parameters, sample) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  const pairs = given.map(([key, value]) => `${quoteForPython(key)}: ${quoteForPython(value)}`);
  const post = [
    "response = httpx.post(",
    `    ${quoteForPython(url.href)},`,
    `    params={${pairs.join(", ")}},`,
    '    files={"image": picture},',
  ];
  if (token() !== "") post.push('    headers={"Authorization": f"Bearer {TOKEN}"},');
  post.push(")");
  return [
    "import httpx",
    ...(token() === "" ? [] : ['TOKEN = "..."']),
    "",
    ...(sample ? [`picture = httpx.get(${quoteForPython(sample)}).content`, ...post]
      : [`with open(${quoteForPython(name)}, "rb") as picture:`, ...post.map((line) => `    ${line}`)]),
    "response.raise_for_status()",
    'print(response.json()["data"])',
  ].join("\n");
}

// A JSON string is a Python string, and a JSON number a Python number.
const quoteForPython = (value) => JSON.stringify(value);
