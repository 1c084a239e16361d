package main

import "context"

func coldCache(ctx context.Context, w *world) error      { return nil }
func prepareLatency(ctx context.Context, w *world) error { return nil }
func baseSizes(ctx context.Context, w *world) error      { return nil }
func changeCounts(ctx context.Context, w *world) error   { return nil }
func millionFiles(ctx context.Context, w *world) error   { return nil }

type plot struct{}

func (w *world) report() error { return nil }
