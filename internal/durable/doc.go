// Package durable makes files survive a power failure. Nothing stays open.
package durable
