// Package nas is the kind that searches for an architecture.
//
// Rules of the room: what a strategy proposes is a function of the seed and of the trials before it, in order of their numbers; how many are
// evaluated at a time never changes a byte. A strategy knows points of a space of decisions and their scores, nothing of networks.
package nas
