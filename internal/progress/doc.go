// Package progress reports which step of a long operation runs, and measures how
// long each step took.
//
// [New] starts a [Steps] for one operation. [Steps.Start] and [Steps.Begin] end
// the running step and begin the next one. [Steps.End] ends the last one and
// returns all times. A Steps holds no resources: after an error it is simply
// dropped, and then [Progress].Done is not called.
package progress
