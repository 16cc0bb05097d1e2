// Says what kind of thing a package gives.
const found = await import(process.argv[2]);
console.log(typeof (found.default ?? found));
