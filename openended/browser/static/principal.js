// Principal components of unit vectors: the covariance's leading eigenvectors by power iteration with deflation.

/** vectors: rows of equal length. {scores: [[a, b]], shares: [a, b] of the variance}. Signs are fixed, so pictures do not flip. */
export function principal(vectors, count = 2) {
  const n = vectors.length, d = vectors[0]?.length ?? 0;
  if (!n || !d) return { scores: [], shares: [] };
  const mean = new Float64Array(d), cov = Array.from({ length: d }, () => new Float64Array(d));
  for (const v of vectors) for (let i = 0; i < d; i++) mean[i] += v[i] / n;
  for (const v of vectors) for (let i = 0; i < d; i++) { const a = v[i] - mean[i]; if (a) for (let j = 0; j <= i; j++) cov[i][j] += (a * (v[j] - mean[j])) / n; }
  for (let i = 0; i < d; i++) for (let j = 0; j < i; j++) cov[j][i] = cov[i][j];
  const total = cov.reduce((sum, row, i) => sum + row[i], 0) || 1, axes = [], shares = [];
  for (let k = 0; k < Math.min(count, d); k++) {
    let axis = Float64Array.from({ length: d }, (_, i) => Math.sin(1.7 * (i + 1) * (k + 1))), value = 0;
    for (let turn = 0; turn < 400; turn++) {
      const next = Float64Array.from(cov, (row) => row.reduce((sum, x, i) => sum + x * axis[i], 0));
      value = Math.hypot(...next);
      if (value < 1e-12) break;
      const change = next.reduce((sum, x, i) => sum + Math.abs(x / value - axis[i]), 0);
      axis = next.map((x) => x / value);
      if (change < 1e-9) break;
    }
    const largest = axis.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best), 0);
    if (largest < 0) axis = axis.map((x) => -x);
    axes.push(axis); shares.push(value / total);
    for (let i = 0; i < d; i++) for (let j = 0; j < d; j++) cov[i][j] -= value * axis[i] * axis[j];
  }
  return { scores: vectors.map((v) => axes.map((axis) => axis.reduce((sum, x, i) => sum + x * (v[i] - mean[i]), 0))), shares };
}
