// Package config edits the config of an image: the JSON document that says what
// a container runs, with which environment, user and so on (OCI image-spec
// config.md).
//
// An edit is an [Edit]: Dockerfile instructions that touch no file, and fields
// to clear. [Edit.Validate] finds what is wrong with it without a config, and
// [Edit.Apply] makes a new config of an old one. Both work on bytes in memory.
// There is nothing to close.
//
// The config is edited and not rebuilt: what an edit does not name keeps its
// bytes and its place, also fields that Veneer does not know. The result means
// what BuildKit makes of the same instructions.
package config
