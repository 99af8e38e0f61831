// Vectors are [x, y, z] in Å.
"use strict";
const Geometry = (() => {
  const minus = (a, b) => a.map((v, k) => v - b[k]);
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const norm = (a) => Math.sqrt(dot(a, a));
  const degrees = 180 / Math.PI;

  const distance = (a, b) => norm(minus(a, b));
  const angle = (a, b, c) => {
    const u = minus(a, b), v = minus(c, b);
    return degrees * Math.atan2(norm(cross(u, v)), dot(u, v));
  };
  const torsion = (a, b, c, d) => {
    const axis = minus(c, b), u = cross(minus(b, a), axis), v = cross(axis, minus(d, c));
    return degrees * Math.atan2(norm(axis) * dot(minus(b, a), v), dot(u, v));
  };
  // A distance of two places, an angle of three, a torsion of four.
  const measured = (places) => [distance, angle, torsion][places.length - 2](...places);
  // A place after the motion [R | t], row by row.
  const moved = ([x, y, z], m) => [0, 4, 8].map((k) => m[k] * x + m[k + 1] * y + m[k + 2] * z + m[k + 3]);
  return { distance, angle, torsion, measured, moved };
})();
