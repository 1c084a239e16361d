// Package container finds the containers that users name, pauses them while
// their files are read, finds the directories of their files, and gives them others.
//
// [Find] looks a container up by ID or by name. What it returns is a value:
// look it up once and pass it on, so that every step means the same container.
//
// [Pause] returns a function that resumes the container, and its caller must
// call it. A process that is killed in between leaves a note in the engine, and
// [ResumeAll] later resumes what such notes name.
//
// [Renew] has a container go on with the files of another image.
package container
