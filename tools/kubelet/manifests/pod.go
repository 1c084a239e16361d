package main

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// podOf is the pod of a workload; nil: the object is none. It has no service account, since a pod from a file may have none.
func podOf(object runtime.Object) *corev1.Pod {
	var meta metav1.ObjectMeta
	var template corev1.PodTemplateSpec
	switch o := object.(type) {
	case *appsv1.DaemonSet:
		meta, template = o.ObjectMeta, o.Spec.Template
	case *batchv1.Job:
		meta, template = o.ObjectMeta, o.Spec.Template
	case *batchv1.CronJob:
		meta, template = o.ObjectMeta, o.Spec.JobTemplate.Spec.Template
	default:
		return nil
	}
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: meta.Name, Namespace: meta.Namespace, Labels: template.Labels},
		Spec:       template.Spec,
	}
	pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = "", ""
	return pod
}

// beyondRestricted are the reasons for which the standard refuses a pod.
func beyondRestricted(pod *corev1.Pod) ([]string, error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, err
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	return policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec)).ForbiddenReasons, nil
}
